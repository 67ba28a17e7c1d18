//! HTTP/1.1 requests to small, near servers: probes, a container engine, etcd.
//!
//! Addresses go in, bytes to send come out; the answer is a [`super::reply::Reply`]. One request
//! to a connection. No names are resolved, no TLS, no redirects, no proxies, no compression.
//!
//! ```
//! use pisup::wire::http::Url;
//! let url: Url = "http://127.0.0.1:4001/health".parse().unwrap();
//! assert!(url.get().starts_with(b"GET /health HTTP/1.1\r\nHost: 127.0.0.1:4001\r\n"));
//! ```

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;

/// Where a server listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// TCP.
    Tcp(SocketAddr),
    /// A unix stream socket.
    Unix(PathBuf),
}

/// `http://ADDR:PORT/PATH` or `http+unix:///SOCKET:/PATH`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Url {
    /// Whom to connect to.
    pub endpoint: Endpoint,
    /// What the request calls the host.
    pub host: String,
    /// Path and query, begins with `/`.
    pub path: String,
}

/// Why a text is not such an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadUrl {
    url: String,
    why: &'static str,
}

impl fmt::Display for BadUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.url, self.why)
    }
}

impl std::error::Error for BadUrl {}

impl FromStr for Url {
    type Err = BadUrl;

    fn from_str(url: &str) -> Result<Self, BadUrl> {
        let bad = |why| BadUrl { url: url.chars().take(200).collect(), why };
        if url.bytes().any(|byte| byte <= b' ' || byte == 0x7f) {
            return Err(bad("an address has no spaces and no control characters"));
        }
        if let Some(rest) = url.strip_prefix("http+unix://") {
            let (socket, path) = rest.split_once(":/").unwrap_or((rest, ""));
            if !socket.starts_with('/') {
                return Err(bad("http+unix:// is followed by /SOCKET:/PATH"));
            }
            return Ok(Self {
                endpoint: Endpoint::Unix(PathBuf::from(socket)),
                host: "localhost".to_owned(),
                path: format!("/{path}"),
            });
        }
        if url.starts_with("https://") {
            return Err(bad("TLS is not spoken here; use http:// or an exec probe"));
        }
        let rest = url
            .strip_prefix("http://")
            .ok_or_else(|| bad("an address begins with http:// or http+unix://"))?;
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (host, path) = rest.split_at_checked(end).unwrap_or((rest, ""));
        let address = address(host).ok_or_else(|| {
            bad("the host is an IP address or localhost, with a port; no name is resolved")
        })?;
        let slash = if path.starts_with('/') { "" } else { "/" };
        Ok(Self {
            endpoint: Endpoint::Tcp(address),
            host: host.to_owned(),
            path: format!("{slash}{path}"),
        })
    }
}

impl Url {
    /// A GET of this address.
    #[must_use]
    pub fn get(&self) -> Vec<u8> {
        request("GET", &self.host, &self.path, None)
    }
}

/// `ADDR:PORT`, `[ADDR]:PORT` or `localhost:PORT`; the port may be missing and is 80 then.
#[must_use]
pub fn address(text: &str) -> Option<SocketAddr> {
    if let Ok(address) = text.parse() {
        return Some(address);
    }
    if let Some(rest) = text.strip_prefix("localhost") {
        let port = match rest.strip_prefix(':') {
            Some(port) => port.parse().ok()?,
            None if rest.is_empty() => 80,
            None => return None,
        };
        return Some(SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
    }
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']'));
    bare.unwrap_or(text).parse::<IpAddr>().ok().map(|ip| SocketAddr::from((ip, 80)))
}

/// A body and its type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Content<'a> {
    /// `application/json`.
    pub kind: &'a str,
    /// The bytes.
    pub bytes: &'a [u8],
}

/// The bytes of a request. `path` is what [`Url`] checked or [`escape`] made.
#[must_use]
pub fn request(method: &str, host: &str, path: &str, content: Option<Content<'_>>) -> Vec<u8> {
    let mut out = format!(
        "{method} {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: pisup\r\nAccept: */*\r\n\
         Connection: close\r\n"
    )
    .into_bytes();
    if let Some(content) = content {
        let (kind, len) = (content.kind, content.bytes.len());
        out.extend(format!("Content-Type: {kind}\r\nContent-Length: {len}\r\n").into_bytes());
    } else if method != "GET" {
        out.extend(b"Content-Length: 0\r\n");
    }
    out.extend(b"\r\n");
    out.extend(content.map_or(&b""[..], |content| content.bytes));
    out
}

/// A text as one part of a path or query: all but letters, digits and `-._~` as `%XX`.
#[must_use]
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push('%');
            out.extend([byte >> 4, byte & 15].map(hex));
        }
    }
    out
}

fn hex(digit: u8) -> char {
    char::from_digit(u32::from(digit), 16).unwrap_or('0').to_ascii_uppercase()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn urls() {
        let url: Url = "http://10.0.0.1:4001/a?b=c".parse().unwrap();
        assert_eq!(url.endpoint, Endpoint::Tcp("10.0.0.1:4001".parse().unwrap()));
        assert_eq!((url.host.as_str(), url.path.as_str()), ("10.0.0.1:4001", "/a?b=c"));
        let url: Url = "http+unix:///run/docker.sock:/_ping".parse().unwrap();
        assert_eq!(url.endpoint, Endpoint::Unix("/run/docker.sock".into()));
        assert_eq!((url.host.as_str(), url.path.as_str()), ("localhost", "/_ping"));
        for (text, address, path) in [
            ("http://localhost:1", "127.0.0.1:1", "/"),
            ("http://localhost", "127.0.0.1:80", "/"),
            ("http://[::1]:8/x", "[::1]:8", "/x"),
            ("http://[::1]", "[::1]:80", "/"),
            ("http://127.0.0.1?q", "127.0.0.1:80", "/?q"),
        ] {
            let url: Url = text.parse().unwrap();
            assert_eq!(url.endpoint, Endpoint::Tcp(address.parse().unwrap()), "{text}");
            assert_eq!(url.path, path, "{text}");
        }
    }

    #[test]
    fn bad_urls() {
        for text in [
            "",
            "x",
            "http:/",
            "http://",
            "http://:80/",
            "http://example.org/",
            "http://localhosts/",
            "http://localhost:/",
            "http://localhost:99999/",
            "http://1.2.3.4:x/",
            "https://1.2.3.4/",
            "http+unix://run/x:/p",
            "http://1.2.3.4/a b",
            "http://1.2.3.4/\r\nX: y",
            "unix:/x",
        ] {
            let error = text.parse::<Url>().unwrap_err().to_string();
            assert!(error.starts_with(&format!("{text:?}: ")), "{error}");
        }
    }

    #[test]
    fn requests() {
        let content = Content { kind: "application/json", bytes: b"{}" };
        let head = "User-Agent: pisup\r\nAccept: */*\r\nConnection: close\r\n";
        assert_eq!(
            String::from_utf8(request("POST", "h", "/p", Some(content))).unwrap(),
            format!(
                "POST /p HTTP/1.1\r\nHost: h\r\n{head}Content-Type: application/json\r\n\
                 Content-Length: 2\r\n\r\n{{}}"
            )
        );
        let delete = String::from_utf8(request("DELETE", "h", "/p", None)).unwrap();
        assert!(delete.ends_with("close\r\nContent-Length: 0\r\n\r\n"));
        assert_eq!(escape("a/b:1 ~ü"), "a%2Fb%3A1%20~%C3%BC");
    }

    proptest! {
        #[test]
        fn any_text_is_survived(text in "(http://|http\\+unix://)?.{0,60}") {
            if let Ok(url) = text.parse::<Url>() {
                prop_assert!(url.path.starts_with('/'));
                prop_assert!(!url.get().windows(4).any(|w| w == b"\n\n\n\n"));
            }
        }
    }
}
