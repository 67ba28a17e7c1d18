#!/bin/bash
# Makes the credentials of a throw-away cluster: one CA, one token that may do everything, and what
# the API server, the kubelets and service accounts need. Not made again where they are.
#
#     tests/sandbox/credentials.sh DIR ADDRESS       ADDRESS: the master's
set -euo pipefail
umask 077

dir=$1 address=$2
mkdir -p "$dir"
cd "$dir"
[ ! -e kubeconfig ] || exit 0

new_key() { openssl ecparam -name prime256v1 -genkey -noout -out "$1"; }

# signed NAME SUBJECT EXTENSIONS: NAME.key, and NAME.crt from the CA.
signed() {
    new_key "$1.key"
    openssl req -new -key "$1.key" -subj "$2" -out "$1.csr"
    openssl x509 -req -in "$1.csr" -CA ca.crt -CAkey ca.key -CAcreateserial -days 3650 \
        -extfile <(printf '%s\n' "$3") -out "$1.crt" 2>/dev/null
    rm "$1.csr"
}

new_key ca.key
openssl req -x509 -new -key ca.key -subj "/CN=pisup-sandbox" -days 3650 -out ca.crt
signed apiserver "/CN=kube-apiserver" "extendedKeyUsage=serverAuth
subjectAltName=IP:127.0.0.1,IP:$address,IP:10.96.0.1,DNS:kubernetes.default.svc,DNS:kubernetes"
signed kubelet-client "/CN=kube-apiserver-kubelet-client/O=system:masters" \
    "extendedKeyUsage=clientAuth"
new_key sa.key
token=$(openssl rand -hex 16)
echo "$token,admin,admin,system:masters" >token.csv

# The last file: that it is there says that all the others are.
cat >kubeconfig.new <<EOF
apiVersion: v1
kind: Config
current-context: sandbox
clusters:
  - name: sandbox
    cluster:
      server: https://$address:6443
      certificate-authority-data: $(base64 -w0 ca.crt)
users:
  - name: admin
    user:
      token: $token
contexts:
  - name: sandbox
    context: { cluster: sandbox, user: admin }
EOF
mv kubeconfig.new kubeconfig
