//! Names of users and groups to the numbers that the kernel knows, from the user database.
//!
//! A static build reads `/etc/passwd` and `/etc/group` and nothing else. This module changes no
//! process.

use std::error::Error;
use std::ffi::CString;
use std::fmt;

use nix::unistd::{Gid, Group, Uid, User, geteuid, getgrouplist};

/// Whom a process runs as.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ids {
    /// User id.
    pub uid: u32,
    /// Main group id.
    pub gid: u32,
    /// Supplementary group ids.
    pub groups: Vec<u32>,
}

/// What is known of a user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// The name, or the number where the database has no name.
    pub name: String,
    /// The home directory; `/` where the database has none.
    pub home: String,
    /// The ids to change to; `None` when neither user nor groups were asked for.
    pub ids: Option<Ids>,
}

/// A name that the database does not know, or cannot look up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserError(String);

impl fmt::Display for UserError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl Error for UserError {}

/// The account for what a unit says: names or numbers, `None` where it says nothing.
///
/// # Errors
///
/// `user "bob" is unknown`; a number needs no entry in the database.
pub fn resolve(
    user: Option<&str>,
    group: Option<&str>,
    groups: Option<&[String]>,
) -> Result<Account, UserError> {
    let (uid, entry) = match user {
        Some(name) => find_user(name)?,
        None => (geteuid(), User::from_uid(geteuid()).ok().flatten()),
    };
    let name = entry.as_ref().map_or_else(|| uid.to_string(), |entry| entry.name.clone());
    let home = entry.as_ref().and_then(|entry| entry.dir.to_str()).unwrap_or("/");
    let home = if home.is_empty() { "/" } else { home }.to_owned();
    if user.is_none() && group.is_none() && groups.is_none() {
        return Ok(Account { name, home, ids: None });
    }
    let gid = match (group, &entry) {
        (Some(group), _) => find_group(group)?,
        (None, Some(entry)) => entry.gid,
        // A bare number without an entry: the group of the same number.
        (None, None) => Gid::from_raw(uid.as_raw()),
    };
    let groups = match groups {
        Some(names) => names.iter().map(|name| find_group(name)).collect::<Result<_, _>>()?,
        None => entry.map_or_else(|| Ok(vec![gid]), |entry| supplementary(&entry.name, gid))?,
    };
    let groups = groups.into_iter().map(Gid::as_raw).collect();
    Ok(Account { name, home, ids: Some(Ids { uid: uid.as_raw(), gid: gid.as_raw(), groups }) })
}

/// The number of a group, for the owner of a socket.
///
/// # Errors
///
/// `group "wheel" is unknown`.
pub fn group_id(name: &str) -> Result<u32, UserError> {
    find_group(name).map(Gid::as_raw)
}

/// The number of a user, for the owner of a socket.
///
/// # Errors
///
/// `user "bob" is unknown`.
pub fn user_id(name: &str) -> Result<u32, UserError> {
    find_user(name).map(|(uid, _)| uid.as_raw())
}

fn find_user(name: &str) -> Result<(Uid, Option<User>), UserError> {
    let failed = |why| UserError(format!("looking up user {name:?}: {why}"));
    if let Some(number) = number(name) {
        let uid = Uid::from_raw(number);
        return Ok((uid, User::from_uid(uid).map_err(failed)?));
    }
    match User::from_name(name).map_err(failed)? {
        Some(user) => Ok((user.uid, Some(user))),
        None => Err(UserError(format!("user {name:?} is unknown"))),
    }
}

fn find_group(name: &str) -> Result<Gid, UserError> {
    if let Some(number) = number(name) {
        return Ok(Gid::from_raw(number));
    }
    match Group::from_name(name) {
        Ok(Some(group)) => Ok(group.gid),
        Ok(None) => Err(UserError(format!("group {name:?} is unknown"))),
        Err(why) => Err(UserError(format!("looking up group {name:?}: {why}"))),
    }
}

/// A name that is all digits is a number; the last one means "no change" to the kernel.
fn number(name: &str) -> Option<u32> {
    name.parse().ok().filter(|number| *number != u32::MAX)
}

fn supplementary(name: &str, gid: Gid) -> Result<Vec<Gid>, UserError> {
    let failed = |why: String| UserError(format!("looking up the groups of {name:?}: {why}"));
    let name = CString::new(name).map_err(|error| failed(error.to_string()))?;
    getgrouplist(&name, gid).map_err(|errno| failed(errno.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_is_known_by_name_and_number() {
        for user in ["root", "0"] {
            let account = resolve(Some(user), None, None).unwrap();
            assert_eq!((account.name.as_str(), account.home.as_str()), ("root", "/root"));
            let ids = account.ids.unwrap();
            assert_eq!((ids.uid, ids.gid), (0, 0));
        }
    }

    #[test]
    fn nothing_asked_changes_nothing() {
        assert_eq!(resolve(None, None, None).unwrap().ids, None);
    }

    #[test]
    fn a_number_without_an_entry_will_do() {
        let account = resolve(Some("54321"), None, None).unwrap();
        assert_eq!((account.name.as_str(), account.home.as_str()), ("54321", "/"));
        let ids = Ids { uid: 54321, gid: 54321, groups: vec![54321] };
        assert_eq!(account.ids, Some(ids));
    }

    #[test]
    fn unknown_names_are_told() {
        let text = |result: Result<Account, UserError>| result.unwrap_err().to_string();
        assert_eq!(text(resolve(Some("bob"), None, None)), "user \"bob\" is unknown");
        assert_eq!(text(resolve(None, Some("no-such"), None)), "group \"no-such\" is unknown");
        let groups = ["0".to_owned(), "nix nix".to_owned()];
        assert_eq!(text(resolve(None, None, Some(&groups))), "group \"nix nix\" is unknown");
        assert!(resolve(Some(""), None, None).is_err());
        assert!(resolve(Some("4294967295"), None, None).is_err());
        assert!(resolve(Some("a\0b"), None, None).is_err());
    }

    #[test]
    fn groups_given_replace_those_of_the_database() {
        let groups = ["7".to_owned(), "8".to_owned()];
        let ids = resolve(Some("root"), Some("9"), Some(&groups)).unwrap().ids.unwrap();
        assert_eq!(ids, Ids { uid: 0, gid: 9, groups: vec![7, 8] });
    }
}
