//! What is told of paths by a real inotify.

use std::fs;
use std::io::Write;
use std::os::unix::net::UnixListener;

use super::*;
use crate::sys::files::tests::TempDir;
use crate::sys::poll::{Interest, Poll};

const PRESENCE: u8 = 1;
const CONTENT: u8 = 2;
const NOTHING: [u8; 0] = [];

fn taken(watches: &mut Watches<u8>) -> Vec<u8> {
    let fired = watches.take().unwrap();
    assert!(fired.faults.is_empty(), "{:?}", fired.faults);
    fired.keys.into_iter().collect()
}

fn both(path: &Path) -> Watches<u8> {
    let mut watches = Watches::new().unwrap();
    watches.add(PRESENCE, path, Want::Presence).unwrap();
    watches.add(CONTENT, path, Want::Content).unwrap();
    watches
}

#[test]
fn a_file_is_told_when_it_is_made_and_when_it_is_written() {
    let dir = TempDir::new("watch");
    let path = dir.path().join("subnet.env");
    let mut watches = both(&path);
    assert_eq!(taken(&mut watches), NOTHING);
    fs::write(dir.path().join("other"), "x").unwrap();
    assert_eq!(taken(&mut watches), NOTHING);

    let mut file = fs::File::create(&path).unwrap();
    assert_eq!(taken(&mut watches), [PRESENCE], "not written yet");
    file.write_all(b"A=1").unwrap();
    assert_eq!(taken(&mut watches), NOTHING, "not closed yet");
    drop(file);
    assert_eq!(taken(&mut watches), [PRESENCE, CONTENT]);

    fs::write(&path, "in place").unwrap();
    assert_eq!(taken(&mut watches), [PRESENCE, CONTENT]);
    watches.remove(PRESENCE);
    fs::write(&path, "again").unwrap();
    assert_eq!(taken(&mut watches), [CONTENT]);
    watches.remove(CONTENT);
    fs::write(&path, "unheard").unwrap();
    assert_eq!(taken(&mut watches), NOTHING);
}

#[test]
fn a_new_key_loses_nothing() {
    let dir = TempDir::new("watch");
    let path = dir.path().join("subnet.env");
    let mut watches = both(&path);
    fs::write(&path, "told to nobody yet").unwrap();
    // What the kernel has queued is taken by the addition.
    watches.add(9, &path, Want::Content).unwrap();
    watches.rename(|key| key.checked_sub(PRESENCE + 1));
    watches.keep(0, &path, Want::Content).unwrap();
    assert_eq!(taken(&mut watches), [0]);
    fs::write(&path, "in the queue of the kernel").unwrap();
    watches.rename(|key| Some(key + 10));
    watches.keep(17, &dir.path().join("other"), Want::Content).unwrap();
    assert_eq!(taken(&mut watches), [10]);
}

#[test]
fn what_happened_before_is_told_to_those_who_watched_and_to_no_other() {
    let dir = TempDir::new("watch");
    let path = dir.path().join("subnet.env");
    let mut watches = Watches::new().unwrap();
    let mut poll = Poll::new().unwrap();
    let mut out = Vec::new();
    poll.add(watches.as_fd(), 0, Interest::Read).unwrap();
    watches.add(CONTENT, &path, Want::Content).unwrap();
    fs::write(&path, "by an earlier run").unwrap();
    watches.add(PRESENCE, &path, Want::Presence).unwrap();
    poll.wait(Some(0), &mut out).unwrap();
    assert_eq!(out.len(), 1, "there is something to take");
    assert_eq!(taken(&mut watches), [CONTENT]);
    poll.wait(Some(0), &mut out).unwrap();
    assert_eq!(out, []);
    fs::write(&path, "by this run").unwrap();
    assert_eq!(taken(&mut watches), [PRESENCE, CONTENT]);

    fs::write(&path, "again").unwrap();
    watches.add(CONTENT, &path, Want::Content).unwrap();
    assert_eq!(taken(&mut watches), [PRESENCE], "added anew, from now on");
}

#[test]
fn renamed_linked_and_bound_count() {
    let dir = TempDir::new("watch");
    let path = dir.path().join("it");
    let other = dir.path().join("other");
    let mut watches = both(&path);
    fs::write(&other, "x").unwrap();
    fs::rename(&other, &path).unwrap();
    assert_eq!(taken(&mut watches), [PRESENCE, CONTENT]);
    fs::remove_file(&path).unwrap();
    let fired = watches.take().unwrap();
    assert!(fired.keys.is_empty());
    assert_eq!(fired.taken.into_iter().collect::<Vec<_>>(), [PRESENCE, CONTENT]);

    fs::write(&other, "x").unwrap();
    fs::hard_link(&other, &path).unwrap();
    fs::remove_file(&other).unwrap();
    assert_eq!(taken(&mut watches), [PRESENCE, CONTENT]);
    fs::remove_file(&path).unwrap();

    let _socket = UnixListener::bind(&path).unwrap();
    assert_eq!(taken(&mut watches), [PRESENCE, CONTENT]);
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    assert_eq!(taken(&mut watches), [PRESENCE, CONTENT]);
}

#[test]
fn directories_may_come_later_and_go_and_come_again() {
    let dir = TempDir::new("watch");
    let path = dir.path().join("a/b/c/file");
    let mut watches = both(&path);
    for _ in 0..3 {
        fs::create_dir(dir.path().join("a")).unwrap();
        assert_eq!(taken(&mut watches), NOTHING);
        fs::create_dir_all(dir.path().join("a/b/c")).unwrap();
        assert_eq!(taken(&mut watches), NOTHING);
        fs::write(&path, "x").unwrap();
        assert_eq!(taken(&mut watches), [PRESENCE, CONTENT]);
        fs::remove_dir_all(dir.path().join("a")).unwrap();
        assert_eq!(taken(&mut watches), NOTHING);
    }
}

#[test]
fn what_came_with_its_directories_is_not_missed() {
    let dir = TempDir::new("watch");
    let path = dir.path().join("a/b/file");
    let mut watches = both(&path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, "x").unwrap();
    assert_eq!(taken(&mut watches), [PRESENCE, CONTENT]);

    // A whole tree, renamed into place, and another one in its stead.
    fs::rename(dir.path().join("a"), dir.path().join("old")).unwrap();
    fs::create_dir_all(dir.path().join("new/b")).unwrap();
    fs::write(dir.path().join("new/b/file"), "y").unwrap();
    fs::rename(dir.path().join("new"), dir.path().join("a")).unwrap();
    fs::remove_dir_all(dir.path().join("old")).unwrap();
    assert_eq!(taken(&mut watches), [PRESENCE, CONTENT]);
    fs::write(&path, "z").unwrap();
    assert_eq!(taken(&mut watches), [PRESENCE, CONTENT]);
}

#[test]
fn a_moved_directory_is_not_mistaken_for_the_path() {
    let dir = TempDir::new("watch");
    let (here, there) = (dir.path().join("here"), dir.path().join("there"));
    fs::create_dir(&here).unwrap();
    let mut watches = both(&here.join("file"));
    fs::rename(&here, &there).unwrap();
    assert_eq!(taken(&mut watches), NOTHING);
    fs::write(there.join("file"), "x").unwrap();
    assert_eq!(taken(&mut watches), NOTHING);
    fs::create_dir(&here).unwrap();
    fs::write(here.join("file"), "x").unwrap();
    assert_eq!(taken(&mut watches), [PRESENCE, CONTENT]);
}

#[test]
fn a_file_in_the_place_of_a_directory_is_waited_out() {
    let dir = TempDir::new("watch");
    fs::write(dir.path().join("a"), "in the way").unwrap();
    let mut watches = both(&dir.path().join("a/file"));
    fs::remove_file(dir.path().join("a")).unwrap();
    fs::create_dir(dir.path().join("a")).unwrap();
    fs::write(dir.path().join("a/file"), "x").unwrap();
    assert_eq!(taken(&mut watches), [PRESENCE, CONTENT]);
}

#[test]
fn a_flood_is_bounded_and_the_file_is_told_all_the_same() {
    let dir = TempDir::new("watch");
    let path = dir.path().join("it");
    let mut watches = both(&path);
    // More than the kernel queues (16384 by default), so that it drops events.
    for _ in 0..10_000 {
        fs::write(dir.path().join("noise"), "").unwrap();
        fs::remove_file(dir.path().join("noise")).unwrap();
    }
    fs::write(&path, "x").unwrap();
    let mut told = BTreeSet::new();
    for _ in 0..1000 {
        told.extend(taken(&mut watches));
    }
    assert_eq!(told.into_iter().collect::<Vec<_>>(), [PRESENCE, CONTENT]);
    fs::write(&path, "y").unwrap();
    assert_eq!(taken(&mut watches), [PRESENCE, CONTENT]);
}

#[test]
fn a_path_that_is_none_is_refused() {
    let mut watches = Watches::new().unwrap();
    for path in ["/", "relative/path", "..", ""] {
        assert!(watches.add(0, Path::new(path), Want::Content).is_err(), "{path:?}");
    }
}
