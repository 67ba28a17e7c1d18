//! `pisup setup ...`.

use std::path::PathBuf;

use clap::Subcommand;

/// `pisup setup ...`.
#[derive(Debug, clap::Args)]
#[command(disable_help_subcommand = true)]
pub struct Setup {
    /// What this node is.
    #[command(subcommand)]
    pub role: SetupRole,
}

/// What this node is.
#[derive(Debug, Subcommand)]
#[command(disable_help_subcommand = true)]
pub enum SetupRole {
    /// Make this node the master, which the others lean on
    Master(SetupOptions),
    /// Make this node a worker
    Worker {
        /// Address or name of the master
        #[arg(long, value_name = "ADDR")]
        master: String,
        /// The rest.
        #[command(flatten)]
        options: SetupOptions,
    },
}

/// How a node is set up.
#[derive(Debug, clap::Args)]
pub struct SetupOptions {
    /// Units to begin with: classic (containers) or native
    #[arg(long, value_name = "NAME", default_value = "classic")]
    pub profile: String,
    /// Also the units of a Pi that has no other init
    #[arg(long)]
    pub with_board: bool,
    /// Write over files that differ
    #[arg(long)]
    pub force: bool,
    /// Where the profiles are
    #[arg(long, value_name = "DIR")]
    pub from: Option<PathBuf>,
    /// Where a master's static pods go
    #[arg(long, value_name = "DIR", default_value = "/etc/kubernetes/manifests")]
    pub manifests: PathBuf,
    /// Name of this node instead of the host name
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
    /// Interface to the other nodes instead of the one with the route to them
    #[arg(long, value_name = "NAME")]
    pub interface: Option<String>,
    /// Address of this node instead of the interface's own
    #[arg(long, value_name = "ADDR")]
    pub address: Option<String>,
    /// Network of all pods
    #[arg(long, value_name = "NET")]
    pub cidr: Option<String>,
}
