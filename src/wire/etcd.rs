//! Two HTTP APIs of etcd, as far as one key is read and written: v2 keys, and v3 through its JSON
//! gateway.
//!
//! The two have separate key spaces, so neither is ever taken for the other. Replies without the
//! fields that belong there are errors.

use serde_json::{Value, json};

use super::http::escape;

/// Which of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Api {
    /// `/v2/keys`, on request up to 3.5.
    V2,
    /// `/v3/kv`, since 3.4.
    V3,
}

/// One request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// `GET`.
    pub method: &'static str,
    /// Path and query.
    pub path: String,
    /// Type and bytes of the body.
    pub content: Option<(&'static str, String)>,
}

/// Asks for the value of a key, of a majority where that can be asked for.
#[must_use]
pub fn get(api: Api, key: &str) -> Call {
    match api {
        Api::V2 => {
            Call { method: "GET", path: format!("{}?quorum=true", v2_path(key)), content: None }
        }
        Api::V3 => v3_call("/v3/kv/range", &json!({ "key": encode(key.as_bytes()) })),
    }
}

/// Sets the value of a key.
#[must_use]
pub fn put(api: Api, key: &str, value: &str) -> Call {
    match api {
        Api::V2 => Call {
            method: "PUT",
            path: v2_path(key),
            content: Some((
                "application/x-www-form-urlencoded",
                format!("value={}", escape(value)),
            )),
        },
        Api::V3 => {
            let pair = json!({ "key": encode(key.as_bytes()), "value": encode(value.as_bytes()) });
            v3_call("/v3/kv/put", &pair)
        }
    }
}

fn v2_path(key: &str) -> String {
    let parts = key.split('/').filter(|part| !part.is_empty());
    parts.fold("/v2/keys".to_owned(), |path, part| path + "/" + &escape(part))
}

fn v3_call(path: &str, document: &Value) -> Call {
    let content = Some(("application/json", document.to_string()));
    Call { method: "POST", path: path.to_owned(), content }
}

/// The value in the reply to [`get`], if there is one; the error is a sentence.
pub fn value(api: Api, status: u16, body: &[u8]) -> Result<Option<String>, String> {
    let document: Value = serde_json::from_slice(body).unwrap_or(Value::Null);
    match api {
        // 100 is "key not found"; any other 404 is a server without this API.
        Api::V2 if status == 404 && document.get("errorCode") == Some(&json!(100)) => Ok(None),
        Api::V2 if status == 200 => {
            let value = document.get("node").and_then(|node| node.get("value"));
            let value = value.and_then(Value::as_str).ok_or("the key is a directory")?;
            Ok(Some(value.to_owned()))
        }
        Api::V3 if status == 200 => {
            let reply = document.as_object().ok_or("not the JSON document that belongs there")?;
            let Some(pairs) = reply.get("kvs").and_then(Value::as_array) else { return Ok(None) };
            let Some(pair) = pairs.first() else { return Ok(None) };
            // An empty value is left out.
            let value = pair.get("value").and_then(Value::as_str).unwrap_or("");
            let bytes = decode(value).ok_or("a value that is not base64")?;
            Ok(Some(String::from_utf8_lossy(&bytes).into_owned()))
        }
        _ => Err(refusal(api, status, &document, body)),
    }
}

/// Whether the reply to [`put`] says that it was done; the error is a sentence.
pub fn is_put(api: Api, status: u16, body: &[u8]) -> Result<(), String> {
    let document: Value = serde_json::from_slice(body).unwrap_or(Value::Null);
    match (api, status) {
        (Api::V2, 200 | 201) if document.get("node").is_some() => Ok(()),
        (Api::V3, 200) if document.get("header").is_some() => Ok(()),
        (_, 200 | 201) => Err("not the JSON document that belongs there".to_owned()),
        _ => Err(refusal(api, status, &document, body)),
    }
}

fn refusal(api: Api, status: u16, document: &Value, body: &[u8]) -> String {
    let message = ["message", "error"].iter().find_map(|key| document.get(key)?.as_str());
    match (message, api, status) {
        (None, Api::V2, 404) => {
            "this etcd has no v2 API (--enable-v2=true up to 3.5, none after)".to_owned()
        }
        (None, Api::V3, 404) => {
            "this etcd has no v3 JSON gateway (it is older than 3.4, or it is switched off)"
                .to_owned()
        }
        _ => {
            let text = String::from_utf8_lossy(body);
            let clean = message.unwrap_or(&text).trim();
            let line: String =
                clean.chars().map(|c| if c.is_control() { ' ' } else { c }).take(400).collect();
            format!("etcd says: {line} (HTTP {status})")
        }
    }
}

/// Whether two values mean the same: equal as JSON, or, where one is none, letter for letter.
#[must_use]
pub fn is_same(one: &str, other: &str) -> bool {
    let parse = |text| serde_json::from_str::<Value>(text);
    match (parse(one), parse(other)) {
        (Ok(one), Ok(other)) => one == other,
        _ => one == other,
    }
}

/// Whether a value is JSON; the error says where it is not.
pub fn check(value: &str) -> Result<(), String> {
    serde_json::from_str::<Value>(value).map(|_| ()).map_err(|error| error.to_string())
}

const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

fn encode(bytes: &[u8]) -> String {
    let mut out = String::new();
    for group in bytes.chunks(3) {
        let mut word = 0_usize;
        for place in 0..3 {
            word = word << 8 | group.get(place).copied().map_or(0, usize::from);
        }
        for place in 0..4 {
            let digit = word >> (18 - 6 * place) & 63;
            let is_padding = place > group.len();
            let digit = DIGITS.get(digit).copied().unwrap_or(b'=');
            out.push(if is_padding { '=' } else { char::from(digit) });
        }
    }
    out
}

fn decode(text: &str) -> Option<Vec<u8>> {
    let digits = text.trim_end_matches('=');
    // Two paddings at most, and a whole number of groups with them.
    if !text.len().is_multiple_of(4) || text.len() - digits.len() > 2 {
        return None;
    }
    let (mut word, mut bits, mut out) = (0_u32, 0_u32, Vec::new());
    for digit in digits.bytes() {
        let digit = DIGITS.iter().position(|known| *known == digit)?;
        word = (word << 6 | u32::try_from(digit).ok()?) & 0xffff;
        bits += 6;
        if bits >= 8 {
            bits -= 8;
            out.push(u8::try_from(word >> bits & 0xff).ok()?);
        }
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn requests() {
        let call = get(Api::V2, "/coreos.com/network/config");
        assert_eq!(call.path, "/v2/keys/coreos.com/network/config?quorum=true");
        let call = put(Api::V2, "/a b/c", r#"{"N":1}"#);
        assert_eq!((call.method, call.path.as_str()), ("PUT", "/v2/keys/a%20b/c"));
        assert_eq!(call.content.unwrap().1, "value=%7B%22N%22%3A1%7D");
        let call = get(Api::V3, "foo");
        assert_eq!(call.content.unwrap().1, r#"{"key":"Zm9v"}"#);
        let call = put(Api::V3, "foo", "bar");
        assert_eq!((call.method, call.path.as_str()), ("POST", "/v3/kv/put"));
        assert_eq!(call.content.unwrap().1, r#"{"key":"Zm9v","value":"YmFy"}"#);
    }

    #[test]
    fn replies() {
        let found = br#"{"action":"get","node":{"key":"/a","value":"x","modifiedIndex":4}}"#;
        assert_eq!(value(Api::V2, 200, found), Ok(Some("x".into())));
        let absent = br#"{"errorCode":100,"message":"Key not found","cause":"/a","index":3}"#;
        assert_eq!(value(Api::V2, 404, absent), Ok(None));
        assert!(value(Api::V2, 404, b"404 page not found").unwrap_err().contains("no v2 API"));
        let directory = br#"{"node":{"key":"/a","dir":true}}"#;
        assert_eq!(value(Api::V2, 200, directory), Err("the key is a directory".into()));
        let found = br#"{"header":{},"kvs":[{"key":"Zm9v","value":"YmFy"}],"count":"1"}"#;
        assert_eq!(value(Api::V3, 200, found), Ok(Some("bar".into())));
        assert_eq!(value(Api::V3, 200, br#"{"header":{}}"#), Ok(None));
        assert_eq!(value(Api::V3, 200, br#"{"kvs":[{"key":"Zm9v"}]}"#), Ok(Some(String::new())));
        assert!(value(Api::V3, 404, b"404").unwrap_err().contains("no v3 JSON gateway"));
        let down = br#"{"error":"etcdserver: no leader","code":14}"#;
        let want = "etcd says: etcdserver: no leader (HTTP 503)";
        assert_eq!(value(Api::V3, 503, down).unwrap_err(), want);
        assert_eq!(is_put(Api::V2, 201, br#"{"action":"set","node":{}}"#), Ok(()));
        assert_eq!(is_put(Api::V3, 200, br#"{"header":{"revision":"2"}}"#), Ok(()));
        for (api, status, body) in [
            (Api::V2, 200, &b"{}"[..]),
            (Api::V3, 200, b"ok"),
            (Api::V2, 500, b"oops\n"),
            (Api::V3, 500, br#"{"error":"x"}"#),
        ] {
            assert!(is_put(api, status, body).is_err());
        }
        for body in [&b""[..], b"[]", b"{\"kvs\":[{\"value\":\"?\"}]}"] {
            assert!(value(Api::V3, 200, body).is_err());
        }
    }

    #[test]
    fn values_that_mean_the_same() {
        assert!(is_same(r#"{"a":1,"b":[2]}"#, " { \"b\": [2], \"a\": 1 }"));
        assert!(!is_same(r#"{"a":1}"#, r#"{"a":2}"#));
        assert!(is_same("plain", "plain") && !is_same("plain", "1"));
        assert!(check("{}").is_ok() && check("{").unwrap_err().contains("line 1"));
    }

    #[test]
    fn base64() {
        for (plain, text) in
            [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foobar", "Zm9vYmFy")]
        {
            assert_eq!(encode(plain.as_bytes()), text);
            assert_eq!(decode(text).unwrap(), plain.as_bytes());
        }
        for bad in ["Z", "Zg", "Zg=", "Zg===", "====", "Z!==", "Zg==Zg=="] {
            assert_eq!(decode(bad), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_come_back(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
            prop_assert_eq!(decode(&encode(&bytes)), Some(bytes.clone()));
            let text = String::from_utf8_lossy(&bytes).into_owned();
            let _ = decode(&text);
            for api in [Api::V2, Api::V3] {
                let _ = (value(api, 200, &bytes), is_put(api, 200, &bytes));
            }
        }
    }
}
