//! The container engine's API: paths and documents that are sent, and what is read of the replies.
//!
//! Paths are those of API 1.24 (2016), which every engine since understands; the version that is
//! asked for is the engine's own, within what was tried. Of a reply only the fields below are
//! looked at; one without them is an error, never a guess.

use serde_json::{Map, Value, json};

use super::container::Spec;
use super::http::escape;

/// The oldest version whose paths and documents these are.
pub const OLDEST: (u32, u32) = (1, 24);
/// The newest version that is asked for; engines that no longer know it have not been seen.
const NEWEST: (u32, u32) = (1, 44);

/// Label with the name of the unit that owns a container.
pub const LABEL_UNIT: &str = "pisup.unit";
/// Carries the run directory of the supervisor that made it.
pub const LABEL_RUN: &str = "pisup.run";
/// Label with the [`fingerprint`] of what it was made from.
pub const LABEL_CONFIG: &str = "pisup.config";

/// The version to speak, of the document of `/version`: `Err` is the engine's own version when it
/// is too old, or nothing when there is none.
pub fn version(document: &[u8]) -> Result<String, Option<String>> {
    let document: Value = serde_json::from_slice(document).map_err(|_| None)?;
    let text = document.get("ApiVersion").and_then(Value::as_str).ok_or(None)?;
    let (major, minor) = text.split_once('.').ok_or(None)?;
    let own = major.parse().ok().zip(minor.parse().ok()).ok_or(None)?;
    if own < OLDEST {
        return Err(Some(text.chars().take(16).collect()));
    }
    let (major, minor) = own.min(NEWEST);
    Ok(format!("v{major}.{minor}"))
}

/// The document that makes a container.
#[must_use]
pub fn create(spec: &Spec) -> Vec<u8> {
    let mut document = essence(spec);
    let labels = json!({
        LABEL_UNIT: spec.unit, LABEL_RUN: spec.run, LABEL_CONFIG: fingerprint(spec)
    });
    document.insert("Labels".to_owned(), labels);
    Value::Object(document).to_string().into_bytes()
}

/// Names a configuration: two containers with the same one are made in the same way.
///
/// 64 bits of FNV-1a over the document: it has to be the same after an upgrade of this program,
/// and nobody gains by making two that are equal.
#[must_use]
pub fn fingerprint(spec: &Spec) -> String {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for byte in Value::Object(essence(spec)).to_string().bytes() {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    }
    format!("{hash:016x}")
}

fn essence(spec: &Spec) -> Map<String, Value> {
    let env: Vec<String> = spec.env.iter().map(|(key, value)| format!("{key}={value}")).collect();
    let devices: Vec<Value> = spec.devices.iter().map(|device| self::device(device)).collect();
    let host = json!({
        "NetworkMode": spec.network.as_deref().unwrap_or("default"),
        "Privileged": spec.is_privileged,
        "PidMode": spec.pid.as_deref().unwrap_or(""),
        "CapAdd": spec.cap_add,
        "Binds": spec.volumes,
        "Devices": devices,
        // Its output is read as it comes and kept in RAM; a copy on the SD card is not wanted.
        "LogConfig": { "Type": "none" },
    });
    let command = Some(&spec.command).filter(|command| !command.is_empty());
    let fields = [
        ("Image", Some(json!(spec.image))),
        ("Env", Some(json!(env))),
        ("Tty", Some(json!(false))),
        ("HostConfig", Some(host)),
        // What is not given is the image's own.
        ("User", spec.user.as_ref().map(|user| json!(user))),
        ("WorkingDir", spec.workdir.as_ref().map(|path| json!(path))),
        ("StopSignal", spec.stop_signal.as_ref().map(|signal| json!(signal))),
        ("Cmd", command.map(|command| json!(command))),
    ];
    fields.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?))).collect()
}

/// `HOST[:CONTAINER[:PERMISSIONS]]`.
fn device(text: &str) -> Value {
    let mut parts = text.splitn(3, ':');
    let host = parts.next().unwrap_or_default();
    let inside = parts.next().unwrap_or(host);
    let permissions = parts.next().unwrap_or("rwm");
    json!({ "PathOnHost": host, "PathInContainer": inside, "CgroupPermissions": permissions })
}

/// What is asked of the engine; the path without the version.
#[must_use]
pub fn inspect_path(name: &str) -> String {
    format!("/containers/{}/json", escape(name))
}

/// Is there an image of this name?
#[must_use]
pub fn image_path(image: &str) -> String {
    // Slashes and colons are part of the name; the engine takes them as they are.
    let parts: Vec<String> = image.split('/').map(escape).collect();
    format!("/images/{}/json", parts.join("/"))
}

/// Fetch an image. Without a tag all tags would be fetched, so there always is one.
#[must_use]
pub fn pull_path(image: &str) -> String {
    let (name, tag) = if let Some((name, digest)) = image.split_once('@') {
        (name, digest)
    } else {
        match image.rsplit_once(':') {
            // The colon of a registry's port is followed by a slash.
            Some((name, tag)) if !tag.contains('/') => (name, tag),
            _ => (image, "latest"),
        }
    };
    format!("/images/create?fromImage={}&tag={}", escape(name), escape(tag))
}

/// A container as the engine sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// The engine's name for it, 64 letters.
    pub id: String,
    /// Whether its first process lives.
    pub is_running: bool,
    /// Its first process; 0 while there is none.
    pub pid: u32,
    /// The image it was made from, for people.
    pub image: String,
    /// The unit that owns it.
    pub unit: Option<String>,
    /// The run directory of that unit's supervisor; empty when nobody said.
    pub run: String,
    /// Its [`fingerprint`].
    pub config: Option<String>,
}

/// Reads the reply to an inspection.
pub fn seen(document: &[u8]) -> Result<Seen, String> {
    let document = object(document)?;
    let state = document.get("State").and_then(Value::as_object).ok_or("no State in it")?;
    let config = document.get("Config").and_then(Value::as_object).ok_or("no Config in it")?;
    let label = |name| Some(config.get("Labels")?.get(name)?.as_str()?.to_owned());
    let pid = state.get("Pid").and_then(Value::as_u64).unwrap_or(0);
    Ok(Seen {
        id: id(&document)?,
        is_running: state.get("Running").and_then(Value::as_bool).ok_or("no Running in it")?,
        pid: u32::try_from(pid).map_err(|_| "a pid that is none")?,
        image: config.get("Image").and_then(Value::as_str).unwrap_or("?").to_owned(),
        unit: label(LABEL_UNIT),
        run: label(LABEL_RUN).unwrap_or_default(),
        config: label(LABEL_CONFIG),
    })
}

/// Reads the reply to a creation: the container's id.
pub fn created(document: &[u8]) -> Result<String, String> {
    id(&object(document)?)
}

/// Reads the reply to a wait: the exit code, or why there is none.
pub fn waited(document: &[u8]) -> Result<u8, String> {
    let document = object(document)?;
    let message = document.get("Error").and_then(|error| error.get("Message"));
    if let Some(message) = message.and_then(Value::as_str).filter(|text| !text.is_empty()) {
        return Err(sentence(message));
    }
    let code = document.get("StatusCode").and_then(Value::as_i64).ok_or("no StatusCode in it")?;
    u8::try_from(code).map_err(|_| format!("{code} is no exit code"))
}

/// What the engine says of a request that it did not carry out.
#[must_use]
pub fn refusal(document: &[u8]) -> String {
    let parsed: Option<Value> = serde_json::from_slice(document).ok();
    match parsed.as_ref().and_then(|document| document.get("message")).and_then(Value::as_str) {
        Some(message) => sentence(message),
        // Old engines and proxies answer in plain text.
        None => sentence(&String::from_utf8_lossy(document)),
    }
}

/// One step of a pull.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Step {
    /// The layer; empty for what concerns all.
    pub layer: String,
    /// `Downloading`, `Pull complete`.
    pub status: String,
    /// Bytes done and bytes in all, where the engine counts.
    pub bytes: Option<(u64, u64)>,
}

/// Reads one line of a pull; `Err` is why it failed.
pub fn step(line: &[u8]) -> Result<Step, String> {
    let document = object(line)?;
    let text = |key| document.get(key).and_then(Value::as_str).unwrap_or_default();
    let detail = document.get("errorDetail").and_then(|detail| detail.get("message"));
    if let Some(message) = detail.or_else(|| document.get("error")).and_then(Value::as_str) {
        return Err(sentence(message));
    }
    let count = |key| document.get("progressDetail")?.get(key)?.as_u64();
    Ok(Step {
        layer: sentence(text("id")),
        status: sentence(text("status")),
        bytes: count("current").zip(count("total")),
    })
}

/// The bridge that an engine's configuration file names.
#[must_use]
pub fn configured_bridge(document: &[u8]) -> Option<String> {
    let document: Value = serde_json::from_slice(document).ok()?;
    Some(document.get("bridge")?.as_str()?.to_owned())
}

fn object(document: &[u8]) -> Result<Map<String, Value>, String> {
    match serde_json::from_slice(document) {
        Ok(Value::Object(object)) => Ok(object),
        _ => Err("not the JSON document that belongs there".to_owned()),
    }
}

fn id(document: &Map<String, Value>) -> Result<String, String> {
    let id = document.get("Id").and_then(Value::as_str).ok_or("no Id in it")?;
    // It becomes part of paths.
    let is_plain =
        !id.is_empty() && id.len() <= 128 && id.bytes().all(|b| b.is_ascii_alphanumeric());
    if is_plain { Ok(id.to_owned()) } else { Err("an Id that is none".to_owned()) }
}

/// Foreign text as one bounded line.
fn sentence(text: &str) -> String {
    let clean = text.trim().chars().map(|c| if c.is_control() { ' ' } else { c });
    clean.take(400).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn spec() -> Spec {
        Spec {
            image: "reg:5000/etcd:3.4".into(),
            name: "pisup-etcd".into(),
            unit: "etcd".into(),
            ..Spec::default()
        }
    }

    #[test]
    fn versions() {
        let version = |text: &str| version(format!(r#"{{"ApiVersion":"{text}"}}"#).as_bytes());
        assert_eq!(version("1.24").unwrap(), "v1.24");
        assert_eq!(version("1.41").unwrap(), "v1.41");
        assert_eq!(version("1.54").unwrap(), "v1.44");
        assert_eq!(version("1.19"), Err(Some("1.19".into())));
        assert_eq!(version("x"), Err(None));
        assert_eq!(super::version(b"{}"), Err(None));
        assert_eq!(super::version(b"OK"), Err(None));
    }

    #[test]
    fn the_document_of_a_container() {
        let full = Spec {
            network: Some("host".into()),
            is_privileged: true,
            pid: Some("host".into()),
            cap_add: vec!["NET_ADMIN".into()],
            volumes: vec!["/a:/b:ro".into()],
            devices: vec!["/dev/net/tun".into(), "/dev/a:/dev/b:r".into()],
            env: vec![("K".into(), "v=w".into())],
            user: Some("1:2".into()),
            workdir: Some("/w".into()),
            stop_signal: Some("SIGINT".into()),
            command: vec!["/bin/etcd".into(), "--x".into()],
            ..spec()
        };
        let document: Value = serde_json::from_slice(&create(&full)).unwrap();
        assert_eq!(document["Cmd"], json!(["/bin/etcd", "--x"]));
        assert_eq!(document["Env"], json!(["K=v=w"]));
        assert_eq!(document["StopSignal"], "SIGINT");
        assert_eq!(document["Labels"]["pisup.unit"], "etcd");
        assert_eq!(document["Labels"]["pisup.config"], fingerprint(&full));
        let host = &document["HostConfig"];
        assert_eq!((&host["NetworkMode"], &host["PidMode"]), (&json!("host"), &json!("host")));
        assert_eq!(host["Binds"], json!(["/a:/b:ro"]));
        assert_eq!(host["Devices"][0]["PathInContainer"], "/dev/net/tun");
        assert_eq!(host["Devices"][1], device("/dev/a:/dev/b:r"));
        assert_eq!(host["Devices"][1]["CgroupPermissions"], "r");
        let small: Value = serde_json::from_slice(&create(&spec())).unwrap();
        for absent in ["Cmd", "User", "WorkingDir", "StopSignal"] {
            assert_eq!(small.get(absent), None, "{absent}");
        }
    }

    /// A changed value would replace every running container at an upgrade.
    #[test]
    fn a_fingerprint_stays() {
        assert_eq!(fingerprint(&spec()), "89e35d8075124df6");
        let other = Spec { command: vec!["x".into()], ..spec() };
        assert_ne!(fingerprint(&other), fingerprint(&spec()));
        // Who owns it and what it is called is not how it is made.
        let renamed = Spec { name: "x".into(), unit: "y".into(), ..spec() };
        assert_eq!(fingerprint(&renamed), fingerprint(&spec()));
    }

    #[test]
    fn paths() {
        assert_eq!(inspect_path("a/b"), "/containers/a%2Fb/json");
        assert_eq!(image_path("reg:5000/a/b:1"), "/images/reg%3A5000/a/b%3A1/json");
        for (image, query) in [
            ("etcd", "fromImage=etcd&tag=latest"),
            ("etcd:2.1", "fromImage=etcd&tag=2.1"),
            ("reg:5000/etcd", "fromImage=reg%3A5000%2Fetcd&tag=latest"),
            ("reg:5000/etcd:2", "fromImage=reg%3A5000%2Fetcd&tag=2"),
            ("a/b@sha256:00ff", "fromImage=a%2Fb&tag=sha256%3A00ff"),
        ] {
            assert_eq!(pull_path(image), format!("/images/create?{query}"));
        }
    }

    #[test]
    fn replies_are_read() {
        let document = br#"{"Id":"ab12","State":{"Running":true,"Pid":77,"ExitCode":0},
            "Config":{"Image":"x:1","Labels":{"pisup.unit":"etcd","pisup.config":"00"}}}"#;
        let seen = seen(document).unwrap();
        assert!(seen.is_running);
        assert_eq!((seen.id.as_str(), seen.pid, seen.image.as_str()), ("ab12", 77, "x:1"));
        assert_eq!(seen.unit.as_deref(), Some("etcd"));
        let foreign = br#"{"Id":"ab","State":{"Running":false},"Config":{"Labels":null}}"#;
        assert_eq!(super::seen(foreign).unwrap().unit, None);
        assert_eq!(created(br#"{"Id":"ab","Warnings":null}"#).unwrap(), "ab");
        assert_eq!(waited(br#"{"StatusCode":137}"#), Ok(137));
        assert_eq!(waited(br#"{"StatusCode":0,"Error":null}"#), Ok(0));
        assert_eq!(waited(br#"{"StatusCode":0,"Error":{"Message":"gone"}}"#), Err("gone".into()));
        assert_eq!(refusal(br#"{"message":"No such image: x\n"}"#), "No such image: x");
        assert_eq!(refusal(b"page not found\n"), "page not found");
    }

    #[test]
    fn steps_of_a_pull() {
        let line = br#"{"status":"Downloading","progressDetail":{"current":5,"total":9},
            "progress":"[=>  ] 5B/9B","id":"a1"}"#;
        let want = Step { layer: "a1".into(), status: "Downloading".into(), bytes: Some((5, 9)) };
        assert_eq!(step(line), Ok(want));
        let failed = br#"{"errorDetail":{"message":"denied"},"error":"denied"}"#;
        assert_eq!(step(failed), Err("denied".into()));
        assert_eq!(step(br#"{"error":"old"}"#), Err("old".into()));
        assert!(step(b"[]").is_err());
    }

    #[test]
    fn a_bridge_of_a_configuration() {
        assert_eq!(configured_bridge(br#"{"bridge":"none"}"#).as_deref(), Some("none"));
        assert_eq!(configured_bridge(b"{}"), None);
        assert_eq!(configured_bridge(b"x"), None);
    }

    #[test]
    fn nonsense_is_an_error() {
        for bad in [
            &b""[..],
            b"null",
            b"[]",
            b"{}",
            b"{\"Id\":5}",
            br#"{"Id":"../x","State":{"Running":true},"Config":{}}"#,
            br#"{"Id":"a","State":{"Running":1},"Config":{}}"#,
            br#"{"Id":"a","State":{"Running":true,"Pid":4294967296},"Config":{}}"#,
            br#"{"Id":"a","State":{"Running":true,"#,
        ] {
            assert!(seen(bad).is_err(), "{bad:?}");
        }
        assert!(created(b"{\"Id\":\"\"}").is_err());
        assert_eq!(waited(br#"{"StatusCode":300}"#), Err("300 is no exit code".into()));
        assert_eq!(waited(br#"{"StatusCode":-1}"#), Err("-1 is no exit code".into()));
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = (version(&bytes), seen(&bytes), created(&bytes), waited(&bytes));
            let _ = (refusal(&bytes), step(&bytes), configured_bridge(&bytes));
        }
    }
}
