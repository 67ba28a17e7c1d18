//! `pisup etcd-put --endpoint URL --api v2|v3 --key KEY --value JSON`: one key has this value.
//!
//! It is written only if it is absent or different, since every write wakes those who watch it.
//! Which API is never guessed: v2 and v3 have separate keys, and a key in the wrong one looks like
//! success to everybody but its reader. Tried once; to try again is the supervisor's part.

use std::ffi::OsString;
use std::time::Duration;

use super::exchange::{Exchange, Waiter};
use super::{Failure, end, texts};
use crate::wire::etcd::{self, Api, Call};
use crate::wire::http::{Content, Endpoint, Url, request};

/// How long etcd may take for one answer. With a slow card a write was seen to take seconds.
const WITHIN: Duration = Duration::from_secs(20);

/// Longest reply, in bytes.
const MAX_REPLY: usize = 256 * 1024;

const USAGE: &str = "usage: pisup etcd-put --endpoint URL --api v2|v3 --key KEY --value JSON";

/// The entry point of the process; its exit code.
#[must_use]
pub fn main(args: Vec<OsString>) -> u8 {
    end(texts(args).and_then(|args| Put::parse(&args)).and_then(|put| put.run()))
}

/// What is to be so.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Put {
    url: Url,
    api: Api,
    key: String,
    value: String,
}

impl Put {
    fn parse(args: &[String]) -> Result<Self, Failure> {
        let usage = |why: &str| Failure::Usage(format!("etcd-put: {why}; {USAGE}"));
        let (mut endpoint, mut api, mut key, mut value) = (None, None, None, None);
        let mut words = args.iter();
        while let Some(word) = words.next() {
            let (option, inline) = word
                .split_once('=')
                .map_or((word.as_str(), None), |(option, value)| (option, Some(value)));
            let place = match option {
                "--endpoint" => &mut endpoint,
                "--api" => &mut api,
                "--key" => &mut key,
                "--value" => &mut value,
                _ => return Err(usage(&format!("{option:?} is not an option"))),
            };
            let text = inline.or_else(|| words.next().map(String::as_str));
            *place = Some(text.ok_or_else(|| usage(&format!("{option} needs a value")))?);
        }
        let (Some(endpoint), Some(api), Some(key), Some(value)) = (endpoint, api, key, value)
        else {
            return Err(usage("all four are needed"));
        };
        let url = endpoint.parse().map_err(|bad| usage(&format!("--endpoint {bad}")))?;
        let api = match api {
            "v2" => Api::V2,
            "v3" => Api::V3,
            _ => return Err(usage(&format!("--api is v2 or v3, not {api:?}"))),
        };
        if !key.starts_with('/') {
            return Err(usage(&format!("--key begins with a slash, unlike {key:?}")));
        }
        if let Err(why) = etcd::check(value) {
            return Err(usage(&format!("--value is not JSON ({why})")));
        }
        Ok(Self { url, api, key: key.to_owned(), value: value.to_owned() })
    }

    fn run(&self) -> Result<String, Failure> {
        let Self { api, key, value, .. } = self;
        let failed = |doing: &str, why: String| Failure::Failed(format!("{doing} {key}: {why}"));
        let mut waiter = Waiter::new().map_err(|why| failed("reading", why.to_string()))?;
        let (status, body) = self.call(&mut waiter, &etcd::get(*api, key))?;
        let found = etcd::value(*api, status, &body).map_err(|why| failed("reading", why))?;
        if found.as_ref().is_some_and(|found| etcd::is_same(found, value)) {
            return Ok(format!("{key}: already right"));
        }
        let (status, body) = self.call(&mut waiter, &etcd::put(*api, key, value))?;
        etcd::is_put(*api, status, &body).map_err(|why| failed("writing", why))?;
        Ok(match found {
            None => format!("{key}: written"),
            Some(_) => format!("{key}: written, it was different"),
        })
    }

    fn call(&self, waiter: &mut Waiter, call: &Call) -> Result<(u16, Vec<u8>), Failure> {
        let place = match &self.url.endpoint {
            Endpoint::Tcp(address) => address.to_string(),
            Endpoint::Unix(path) => path.display().to_string(),
        };
        let failed = |why| Failure::Failed(format!("asking etcd on {place}: {why}"));
        let content =
            call.content.as_ref().map(|(kind, text)| Content { kind, bytes: text.as_bytes() });
        let request = request(call.method, &self.url.host, &call.path, content);
        let mut exchange =
            Exchange::start(&self.url.endpoint, &request, MAX_REPLY).map_err(failed)?;
        waiter.finish(&mut exchange, Some(WITHIN), |_| Ok(())).map_err(failed)?;
        Ok((exchange.reply().status().unwrap_or(0), exchange.take_body()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(words: &[&str]) -> Result<Put, Failure> {
        Put::parse(&words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn a_good_line() {
        let put = given(&[
            "--endpoint",
            "http://127.0.0.1:4001",
            "--api=v2",
            "--key",
            "/a",
            "--value",
            r#"{"Network":"10.1.0.0/16"}"#,
        ]);
        assert_eq!(put.unwrap().api, Api::V2);
    }

    #[test]
    fn bad_lines() {
        let line = |option: &str, bad: &str| {
            let good = ["--endpoint=http://[::1]:1", "--api=v3", "--key=/a", "--value={}"];
            let bad = format!("{option}={bad}");
            given(&good.map(|word| if word.starts_with(option) { &bad } else { word }))
        };
        assert!(
            given(&["--endpoint=http://[::1]:1", "--api=v3", "--key=/a", "--value={}"]).is_ok()
        );
        for (option, value, want) in [
            ("--endpoint", "http://etcd:1", "no name is resolved"),
            ("--api", "v1", "--api is v2 or v3"),
            ("--key", "a", "begins with a slash"),
            ("--value", "{\"Network\":}", "--value is not JSON (expected value at line 1"),
        ] {
            let Err(Failure::Usage(why)) = line(option, value) else { panic!("{option}") };
            assert!(why.contains(want) && why.ends_with(USAGE), "{why}");
        }
        for words in [&[][..], &["--api", "v2"], &["--api"], &["--apo=v2"], &["x"]] {
            assert!(matches!(given(words), Err(Failure::Usage(_))), "{words:?}");
        }
    }
}
