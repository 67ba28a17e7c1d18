//! Limits, priorities, ids and capabilities, as the kernel shows them; what may be missing.

use pisup::sys::spawn::resource;
use pisup::sys::user::{Ids, resolve};

use super::*;

fn limit(living: &Living, line: &str) -> Vec<String> {
    let limits = living.read("limits");
    let line = limits.lines().find_map(|one| one.strip_prefix(line)).unwrap().to_owned();
    line.split_whitespace().take(2).map(str::to_owned).collect()
}

#[test]
fn limits_hold_and_what_is_out_of_reach_is_told() {
    let _alone = alone();
    let mut request = Request::new(Vec::new());
    let limits = [("nofile", 64), ("core", 0), ("fsize", u64::MAX), ("nproc", 4000)];
    request.limits = limits.map(|(name, value)| (resource(name).unwrap(), value)).to_vec();
    let living = Living::new(request);
    assert_eq!(living.warnings, Vec::<String>::new());
    assert_eq!(limit(&living, "Max open files"), ["64", "64"]);
    assert_eq!(limit(&living, "Max core file size"), ["0", "0"]);
    assert_eq!(limit(&living, "Max file size"), ["unlimited", "unlimited"]);
    assert_eq!(limit(&living, "Max processes"), ["4000", "4000"]);
    assert_eq!(resource("no-such"), None);

    let nofile = resource("nofile").unwrap();
    let hard = rustix::process::getrlimit(nofile).maximum.unwrap();
    let mut request = Request::new(Vec::new());
    request.limits = vec![(nofile, hard + 1)];
    let living = Living::new(request);
    if living.warnings.is_empty() {
        assert_eq!(limit(&living, "Max open files")[0], (hard + 1).to_string());
    } else {
        let text = format!("cannot set limit nofile to {}: operation not permitted", hard + 1);
        assert_eq!(living.warnings, [format!("{text}; started without")]);
        let most = hard.to_string();
        assert_eq!(limit(&living, "Max open files"), [most.clone(), most], "as far as it goes");
    }
}

#[test]
fn priorities_are_applied_and_what_is_out_of_reach_is_told() {
    let _alone = alone();
    let mut request = Request::new(Vec::new());
    request.nice = Some(5);
    request.oom_score_adj = Some(500);
    request.cpus = vec![0];
    request.ionice = Some(3 << 13);
    let living = Living::new(request);
    assert_eq!(living.warnings, Vec::<String>::new());
    // Field 19, the seventeenth behind the name.
    assert_eq!(living.read("stat").rsplit(')').next().unwrap().split(' ').nth(17), Some("5"));
    assert_eq!(living.read("oom_score_adj"), "500\n");
    assert_eq!(living.status("Cpus_allowed_list"), "0");
    let (text, ..) = run(shell(&format!("ionice -p {}", living.pid)));
    assert_eq!(text, "idle\n");

    let mut request = Request::new(Vec::new());
    request.oom_score_adj = Some(-999);
    let living = Living::new(request);
    if living.warnings.is_empty() {
        assert_eq!(living.read("oom_score_adj"), "-999\n");
    } else {
        let text = "cannot set oom-score-adj to -999: permission denied; started without";
        assert_eq!(living.warnings, [text]);
        assert_eq!(living.read("oom_score_adj"), "0\n");
    }
    let mut request = Request::new(Vec::new());
    request.cpus = vec![1023];
    let living = Living::new(request);
    assert_eq!(living.warnings, ["cannot keep to cpus [1023]: invalid argument; started without"]);
}

#[test]
fn no_new_privileges_is_set_only_when_asked_for() {
    let _alone = alone();
    let mut request = Request::new(Vec::new());
    request.no_new_privileges = true;
    assert_eq!(Living::new(request).status("NoNewPrivs"), "1");
    assert_eq!(Living::new(Request::new(Vec::new())).status("NoNewPrivs"), "0");
}

#[test]
fn ids_and_groups_are_those_of_the_user() {
    let _alone = alone();
    if !is_root("ids and groups") {
        return;
    }
    let mut request = Request::new(Vec::new());
    request.ids = Some(Ids { uid: 54321, gid: 54322, groups: vec![7, 8] });
    let living = Living::new(request);
    assert_eq!(living.status("Uid"), "54321 54321 54321 54321");
    assert_eq!(living.status("Gid"), "54322 54322 54322 54322");
    assert_eq!(living.status("Groups"), "7 8");
    for set in ["CapPrm", "CapEff", "CapAmb"] {
        assert_eq!(living.status(set), "0000000000000000", "{set}");
    }
    let mut request = Request::new(words(&["true"]));
    request.ids = resolve(Some("nobody"), None, None).unwrap().ids;
    request.directory = "/root".to_owned();
    let text = fails(&request).to_string();
    assert_eq!(text, "cannot enter directory /root: permission denied");
}

#[test]
fn root_keeps_only_the_capabilities_listed() {
    let _alone = alone();
    if !is_root("capabilities of root") {
        return;
    }
    // chown and net_bind_service
    let mut request = Request::new(Vec::new());
    request.capabilities = Some(vec![0, 10]);
    let living = Living::new(request);
    for set in ["CapPrm", "CapEff", "CapBnd"] {
        assert_eq!(living.status(set), "0000000000000401", "{set}");
    }
    let mut request = Request::new(Vec::new());
    request.capabilities = Some(Vec::new());
    let living = Living::new(request);
    for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
        assert_eq!(living.status(set), "0000000000000000", "{set}");
    }
}

#[test]
fn a_user_gets_the_capabilities_listed() {
    let _alone = alone();
    if !is_root("capabilities of a user") {
        return;
    }
    let mut request = Request::new(Vec::new());
    request.ids = Some(Ids { uid: 54321, gid: 54321, groups: Vec::new() });
    request.capabilities = Some(vec![10]);
    request.no_new_privileges = true;
    let living = Living::new(request);
    for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
        assert_eq!(living.status(set), "0000000000000400", "{set}");
    }
}
