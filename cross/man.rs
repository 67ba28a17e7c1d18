//! Writes the man pages, made from the arguments, into a folder: `make man`.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::Path;

use clap::CommandFactory;
use pisup::ctl::args::Args;

/// What arguments do not tell, for the end of pisup(1).
const MORE: &str = r#".SH "EXIT STATUS"
0 done, 1 failed, 2 wrong usage, 3 the unit is not running, 4 no such unit,
5 no supervisor or no permission, 6 timed out, 130 ended by ^C.
.SH FILES
.TP
.I /etc/pisup/node.toml
This node: its role, addresses, images and variables.
.TP
.I /etc/pisup/units/*.toml
The units, one a file; the name of the file is that of the unit.
.TP
.I /usr/share/pisup/units/
Units to start from, in profiles, and files for other inits.
.TP
.I /run/pisup/
The control socket, and what else is gone with the power.
.TP
.I /var/lib/pisup/
Values that are kept over a power cut.
"#;

fn main() -> io::Result<()> {
    let Some(folder) = std::env::args_os().nth(1) else {
        return Err(io::Error::other("usage: man FOLDER"));
    };
    fs::create_dir_all(&folder)?;
    clap_mangen::generate_to(Args::command(), &folder)?;
    let mut page = OpenOptions::new().append(true).open(Path::new(&folder).join("pisup.1"))?;
    page.write_all(MORE.as_bytes())
}
