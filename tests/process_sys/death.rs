//! How children end: all of them are reaped, signals reach the right ones.

use pisup::sys::spawn::begin;

use super::*;

#[test]
fn a_thousand_quick_children_are_all_reaped_with_their_codes() {
    let _alone = alone();
    let mut expected = std::collections::BTreeMap::new();
    for number in 0..1000_u32 {
        let code = u8::try_from(number % 256).unwrap();
        let request = shell(&format!("exit {code}"));
        expected.insert(spawn(&request).unwrap().pid, Exit::Code(code));
    }
    let mut batches = 0;
    while let Some((pid, _)) = expected.first_key_value() {
        // Until this one is dead; it can only be reaped below.
        until_readable(child::pidfd(*pid).unwrap());
        loop {
            let reaped = child::reap(64);
            batches += 1;
            assert!(reaped.dead.len() <= 64);
            assert_eq!(reaped.has_more, reaped.dead.len() == 64);
            for (pid, exit) in reaped.dead {
                // Orphans that another test has killed may still come to us, the subreaper.
                if let Some(code) = expected.remove(&pid) {
                    assert_eq!(exit, code);
                }
            }
            if !reaped.has_more {
                break;
            }
        }
    }
    assert!(batches > 15, "{batches} batches");
}

#[test]
fn a_signal_reaches_a_stopped_process() {
    let _alone = alone();
    let mut request = shell("trap 'exit 9' TERM; kill -STOP $$; exit 1");
    request.stdout = None;
    let spawned = spawn(&request).unwrap();
    until(|| child::stat(spawned.pid).unwrap().state == 'T');
    child::signal(spawned.pidfd.as_ref(), spawned.pid, 15).unwrap();
    assert_eq!(wait_for(spawned.pid), Exit::Code(9));
    let gone = rustix::io::Errno::SRCH;
    assert_eq!(child::signal(spawned.pidfd.as_ref(), spawned.pid, 15), Err(gone));
}

#[test]
fn a_dead_child_is_a_zombie_until_it_is_reaped() {
    let _alone = alone();
    let spawned = spawn(&shell("exit 3")).unwrap();
    until_readable(spawned.pidfd.unwrap());
    assert!(child::stat(spawned.pid).unwrap().is_zombie());
    assert_eq!(wait_for(spawned.pid), Exit::Code(3));
    assert_eq!(child::stat(spawned.pid), None);
}

#[test]
fn a_process_group_ends_together() {
    let _alone = alone();
    let (reader, writer) = pipe_with(PipeFlags::CLOEXEC).unwrap();
    let mut request = shell("sleep 1000 & sleep 1000 & echo up; wait");
    request.stdout = Some(writer.as_fd());
    let spawned = spawn(&request).unwrap();
    drop(writer);
    let mut reader = fs::File::from(reader);
    reader.read_exact(&mut [0; 3]).unwrap();
    child::signal_group(spawned.pid, child::KILL).unwrap();
    // The end of the output: nobody holds it any more.
    assert_eq!(reader.read(&mut [0; 3]).unwrap(), 0);
    assert_eq!(wait_for(spawned.pid), Exit::Signal(9));
}

#[test]
fn orphans_come_to_the_subreaper_and_are_still_found() {
    let _alone = alone();
    child::become_subreaper().unwrap();
    // It says its number once it has left the session.
    let script = "sleep 1000 >/dev/null & setsid sh -c 'echo $$; exec sleep 1001 >/dev/null' &";
    let (text, exit, spawned) = run(shell(script));
    assert_eq!(exit, Exit::Code(0));
    let far: u32 = text.trim().parse().unwrap();
    let mut own = child::descendants(std::process::id());
    assert!(own.contains(&far), "{far} not in {own:?}");
    // The one that stayed in the session is found by it although its parent is dead.
    let left = child::descendants(spawned.pid);
    assert_eq!(left.len(), 1, "{left:?}");
    assert!(own.contains(&left[0]) && left[0] != far);
    own.retain(|pid| *pid == far || *pid == left[0]);
    assert_eq!(own.len(), 2);
    for pid in own {
        child::signal(None, pid, child::KILL).unwrap();
        assert_eq!(wait_for(pid), Exit::Signal(9));
    }
}

#[test]
fn a_pending_child_answers_when_asked() {
    let _alone = alone();
    let mut pending = begin(&shell("exit 4")).unwrap();
    let pid = pending.pid();
    until_readable(&pending);
    let spawned = pending.take().unwrap().unwrap();
    assert_eq!(spawned.pid, pid);
    assert_eq!(wait_for(pid), Exit::Code(4));

    let mut pending = begin(&Request::new(words(&["/no/such"]))).unwrap();
    until_readable(&pending);
    assert_eq!(pending.take().unwrap().unwrap_err().to_string(), "/no/such: no such file");
    assert_eq!(child::reap(64), child::Reaped::default());
}
