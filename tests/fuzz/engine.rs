//! What servers answer, and what they are asked: addresses, HTTP, the engine's and etcd's JSON.

use pisup::wire::container::{ContainerArgs, Spec};
use pisup::wire::engine::{self, Step};
use pisup::wire::etcd::{self, Api};
use pisup::wire::frames::{Frames, NotFrames, Stream};
use pisup::wire::http::{self, Url};
use pisup::wire::reply::{BadReply, Progress, Reply};

use super::{all_same, assert_sentence};

/// The longest sentence of a server that is repeated, with words of ours.
const SENTENCE: usize = 450;

/// An address: whatever is in it, the request is one request.
pub fn url(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let _ = http::address(text);
    match text.parse::<Url>() {
        Ok(url) => {
            assert!(url.path.starts_with('/'));
            let request = String::from_utf8(url.get()).expect("a request of text is text");
            let head = request.strip_suffix("\r\n\r\n").expect("a head ends with an empty line");
            assert_eq!(head.matches("\r\n").count(), 4, "{head:?}");
            assert_eq!(head.matches(['\r', '\n']).count(), 8, "{head:?}");
            let first = head.split("\r\n").next().expect("there is a first line");
            assert_eq!(first.matches(' ').count(), 2, "{first:?}");
        }
        // Quoted, so that a letter may have become `\u{10ffff}`.
        Err(bad) => assert_sentence(&bad.to_string(), 2500),
    }
    let escaped = http::escape(text);
    assert!(escaped.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~%".contains(&byte)));
}

const BODY: usize = 200;

/// A reply: the same however it is cut, bounded, and followed as it comes no other than at once.
pub fn http_reply(bytes: &[u8]) {
    let found = all_same(bytes, whole);
    if let Ok((_, body)) = &found {
        assert!(body.len() <= BODY);
        let mut reply = Reply::new(BODY);
        let mut followed = Vec::new();
        for piece in bytes.chunks(7) {
            let progress = reply.feed(piece).expect("what is good whole is good in pieces");
            followed.extend(reply.take_body());
            if progress == Progress::Done {
                assert_eq!(reply.feed(b"more"), Ok(Progress::Done));
                assert_eq!(reply.body(), b"");
            }
        }
        assert_eq!(&followed, body);
    }
}

fn whole(pieces: &[&[u8]]) -> Result<(Option<u16>, Vec<u8>), BadReply> {
    let mut reply = Reply::new(BODY);
    for piece in pieces {
        reply.feed(piece)?;
    }
    reply.end()?;
    Ok((reply.status(), reply.take_body()))
}

/// Documents of a container engine.
pub fn json(bytes: &[u8]) {
    match engine::version(bytes) {
        Ok(version) => {
            let number = version.strip_prefix('v').and_then(|rest| rest.split_once('.'));
            let (major, minor) = number.expect("a version is v1.24 or later");
            let parse = |text: &str| text.parse::<u32>().expect("its parts are numbers");
            assert!((parse(major), parse(minor)) >= engine::OLDEST);
        }
        Err(text) => assert!(text.is_none_or(|text| text.chars().count() <= 16)),
    }
    match engine::seen(bytes) {
        Ok(seen) => assert_id(&seen.id),
        Err(why) => assert_sentence(&why, SENTENCE),
    }
    match engine::created(bytes) {
        Ok(id) => assert_id(&id),
        Err(why) => assert_sentence(&why, SENTENCE),
    }
    if let Err(why) = engine::waited(bytes) {
        assert_sentence(&why, SENTENCE);
    }
    match engine::step(bytes) {
        Ok(Step { layer, status, .. }) => {
            assert_sentence(&layer, SENTENCE);
            assert_sentence(&status, SENTENCE);
        }
        Err(why) => assert_sentence(&why, SENTENCE),
    }
    assert_sentence(&engine::refusal(bytes), SENTENCE);
    let _ = engine::configured_bridge(bytes);
    let name = String::from_utf8_lossy(bytes);
    for path in [engine::inspect_path(&name), engine::image_path(&name), engine::pull_path(&name)] {
        let is_odd = |byte: &u8| !byte.is_ascii_graphic() || *byte == b'#';
        assert!(!path.bytes().any(|byte| is_odd(&byte)), "{path:?}");
    }
}

/// It becomes part of a path.
fn assert_id(id: &str) {
    assert!(!id.is_empty() && id.len() <= 128 && id.bytes().all(|b| b.is_ascii_alphanumeric()));
}

type Output = (Vec<u8>, Vec<u8>, bool);

/// The output of a container: no byte more than came, and the same however it is cut.
pub fn output(bytes: &[u8]) {
    let read = |pieces: &[&[u8]]| -> Result<Output, NotFrames> {
        let mut frames = Frames::default();
        let (mut out, mut err) = (Vec::new(), Vec::new());
        for piece in pieces {
            frames.feed(piece, |stream, part| match stream {
                Stream::Out => out.extend(part),
                Stream::Err => err.extend(part),
            })?;
        }
        Ok((out, err, frames.is_whole()))
    };
    if let Ok((out, err, _)) = all_same(bytes, read) {
        assert!(out.len() + err.len() <= bytes.len());
    }
}

/// Documents of etcd; a value that was sent is the value that is read.
pub fn etcd(bytes: &[u8]) {
    for api in [Api::V2, Api::V3] {
        for status in [200, 201, 404, 500] {
            if let Err(why) = etcd::value(api, status, bytes) {
                assert_sentence(&why, SENTENCE);
            }
            if let Err(why) = etcd::is_put(api, status, bytes) {
                assert_sentence(&why, SENTENCE);
            }
        }
    }
    let text = String::from_utf8_lossy(bytes);
    let (key, value) = text.split_once('\n').unwrap_or(("/a", &text));
    let path = etcd::get(Api::V2, key).path;
    assert!(path.bytes().all(|byte| byte.is_ascii_graphic()), "{path:?}");
    let (_, document) = etcd::put(Api::V3, key, value).content.expect("a put has a content");
    let reply = format!("{{\"kvs\":[{document}]}}");
    assert_eq!(etcd::value(Api::V3, 200, reply.as_bytes()), Ok(Some(value.to_owned())));
    assert!(etcd::is_same(value, value));
    let _ = etcd::check(value);
}

/// The command line of a container's owner, with zeros between its words.
pub fn container_args(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let words = || text.split('\0').map(str::to_owned);
    match ContainerArgs::parse(words()) {
        Ok(args) => {
            let again = ContainerArgs::parse(args.to_argv().into_iter().skip(1));
            assert_eq!(again.as_ref(), Ok(&args));
            check_spec(&args.spec);
        }
        Err(bad) => assert!(!bad.to_string().is_empty()),
    }
}

/// The document that makes it is JSON, whatever is in the words.
fn check_spec(spec: &Spec) {
    let document: serde_json::Value =
        serde_json::from_slice(&engine::create(spec)).expect("a document is JSON");
    let config = document.get("Labels").and_then(|labels| labels.get(engine::LABEL_CONFIG));
    assert_eq!(config.and_then(|text| text.as_str()), Some(engine::fingerprint(spec).as_str()));
}
