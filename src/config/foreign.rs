//! Files of other programs with `${...}` in them: what this node knows is put in.
//!
//! Only `${node.KEY}`, `${images.NAME}` and `${vars.NAME}` are ours. Every other dollar means
//! something to the program whose file it is, and stays.

use super::diag::File;
use super::node::{self, Site};
use super::{Defaults, Diagnostic, Source, read};

/// Fills a file with the values of a node.
///
/// # Errors
///
/// Every reference to a value that the node does not have; what is wrong with `node` itself is
/// for [`super::load`] to tell.
pub fn fill(node: &Source, text: &Source, defaults: &Defaults) -> Result<String, Vec<Diagnostic>> {
    let node_file = File::new(&node.path, &node.text);
    let site = node::read(&node_file, &read::parse(&node_file), defaults);
    let file = File::new(&text.path, &text.text);
    let mut out = String::new();
    let mut rest = text.text.as_str();
    while let Some((before, after)) = rest.split_once("${") {
        out.push_str(before);
        let at = text.text.len() - after.len() - 2;
        let reference = after.split_once('}').and_then(|(name, tail)| {
            let (owner, key) = name.split_once('.')?;
            matches!(owner, "node" | "images" | "vars").then_some((owner, key, tail))
        });
        let Some((owner, key, tail)) = reference else {
            out.push_str("${");
            rest = after;
            continue;
        };
        match value(&site, owner, key) {
            Some(value) => out.push_str(value),
            None => {
                let span = at..text.text.len() - tail.len();
                let message = format!("`{owner}.{key}` is not known");
                if owner == "node" && site.undetected.contains(&key) {
                    let help = format!("the host does not tell it now: give --{key}");
                    file.report_undetected(&span, message, help);
                } else {
                    let help = format!("write `{key}` into the node.toml beside this file");
                    file.report(&span, message, Some(help));
                }
            }
        }
        rest = tail;
    }
    out.push_str(rest);
    let faults = file.into_faults();
    if faults.is_empty() { Ok(out) } else { Err(faults) }
}

fn value<'a>(site: &'a Site, owner: &str, key: &str) -> Option<&'a str> {
    let values = match owner {
        "node" => &site.node.values,
        "images" => &site.images,
        _ => &site.vars,
    };
    values.get(key).map(String::as_str).filter(|value| !value.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(text: &str, address: Option<&str>) -> Result<String, Vec<Diagnostic>> {
        let source = |path: &str, text: &str| Source { path: path.into(), text: text.to_owned() };
        let node = "role = \"master\"\n[images]\na = \"a:1\"\nempty = \"\"\n[vars]\nv = \"w\"\n";
        let address = address.map(str::to_owned);
        let defaults = Defaults { address, ..Defaults::default() };
        fill(&source("node.toml", node), &source("a.yaml", text), &defaults)
    }

    #[test]
    fn only_what_is_ours_is_filled() {
        let text = "${node.role} ${images.a}${vars.v}";
        assert_eq!(filled(text, None).unwrap(), "master a:1w");
        assert_eq!(filled("${node.address}", Some("10.0.0.1")).unwrap(), "10.0.0.1");
        for text in ["", "$", "$$(POD)", "${HOME}", "${a.b}", "${node.role", "${", "${}", "$${x}"] {
            assert_eq!(filled(text, None).unwrap(), text);
        }
    }

    #[test]
    fn what_is_not_known_is_told_with_its_place() {
        let faults = filled("a\n  ${vars.none} ${images.empty} ${node.address}", None).unwrap_err();
        let places: Vec<_> = faults.iter().map(|fault| (fault.line, fault.column)).collect();
        assert_eq!(places, [(2, 3), (2, 16), (2, 32)]);
        assert!(faults[2].is_undetected && !faults[1].is_undetected);
        assert!(faults[2].to_string().contains("give --address"), "{}", faults[2]);
    }
}
