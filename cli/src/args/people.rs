//! What can be typed about people, tokens, groups, invitations and the audit log.

use std::path::PathBuf;

use clap::{Args as ClapArgs, Subcommand};
use contract::RelayId;

/// `tinymlaas relay enroll`.
#[derive(Debug, Clone, ClapArgs)]
pub struct Enroll {
    /// The join token; `-`, or nothing, reads it from standard input, where no other user of this machine sees it.
    #[arg(long, value_name = "TOKEN", hide_env_values = true, env = "TINYMLAAS_JOIN")]
    pub join: Option<String>,
    /// File with the join token.
    #[arg(long, value_name = "FILE")]
    pub join_file: Option<PathBuf>,
    /// Without a join token: invite this relay first, with an admin's token. Does nothing where it is enrolled already.
    #[arg(long, value_name = "RELAY", conflicts_with_all = ["join", "join_file"])]
    pub invite: Option<RelayId>,
}

/// A time as people write it: `90`, `15m`, `8h`, `30d`; in seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lifetime(pub u32);

impl std::str::FromStr for Lifetime {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("'{text}' is no time; write seconds, or a number with m, h or d behind it, such as 8h");
        let (number, unit) = match text.char_indices().next_back() {
            Some((at, 's')) => (&text[..at], 1),
            Some((at, 'm')) => (&text[..at], 60),
            Some((at, 'h')) => (&text[..at], 3600),
            Some((at, 'd')) => (&text[..at], 86_400),
            _ => (text, 1),
        };
        let number: u32 = number.parse().map_err(|_| wrong())?;
        number.checked_mul(unit).filter(|seconds| *seconds > 0).map(Self).ok_or_else(wrong)
    }
}

/// Roles of people.
const ROLES: [&str; 3] = ["admin", "operator", "viewer"];

/// `tinymlaas user …`.
#[derive(Debug, Subcommand)]
pub enum UserVerb {
    /// All users.
    List,
    /// Make a user; the password is asked for, or read from standard input.
    Add {
        /// The name to log in with.
        name: String,
        /// What the user may do.
        #[arg(long, default_value = "viewer", value_parser = ROLES)]
        role: String,
        /// Limit the user to a group of relays; may be given several times.
        #[arg(long = "group", value_name = "GROUP")]
        groups: Vec<String>,
        /// Read the password from this file.
        #[arg(long, value_name = "FILE")]
        password_file: Option<PathBuf>,
    },
    /// Change a user; what is not given stays.
    Change {
        /// The user.
        name: String,
        /// What the user may do.
        #[arg(long, value_parser = ROLES)]
        role: Option<String>,
        /// Limit the user to these groups of relays.
        #[arg(long = "group", value_name = "GROUP")]
        groups: Vec<String>,
        /// Limit the user to no group.
        #[arg(long, conflicts_with = "groups")]
        all_relays: bool,
        /// Let the user, and the user's tokens, in no more.
        #[arg(long)]
        disable: bool,
        /// Take that back.
        #[arg(long, conflicts_with = "disable")]
        enable: bool,
        /// Ask for a new password.
        #[arg(long)]
        new_password: bool,
        /// Read a new password from this file.
        #[arg(long, value_name = "FILE")]
        password_file: Option<PathBuf>,
    },
    /// Remove a user with all tokens and sessions.
    Remove {
        /// The user.
        name: String,
    },
    /// Make a join token, with which a person chooses a password, once.
    Invite {
        /// The name to log in with.
        name: String,
        /// What the user may do.
        #[arg(long, default_value = "viewer", value_parser = ROLES)]
        role: String,
        /// Limit the user to a group of relays; may be given several times.
        #[arg(long = "group", value_name = "GROUP")]
        groups: Vec<String>,
        /// For how long: seconds, or with m, h or d behind the number [default: 1h].
        #[arg(long, value_name = "TIME")]
        valid: Option<Lifetime>,
    },
    /// Change one's own password (with a session as the token).
    Password,
}

/// `tinymlaas token …`.
#[derive(Debug, Subcommand)]
pub enum TokenVerb {
    /// All tokens for an admin, one's own for others.
    List,
    /// Make a token; it is shown once.
    Create {
        /// Its name, which is the user name over MQTT.
        name: String,
        /// What it may do, at most what you may.
        #[arg(long, default_value = "viewer", value_parser = ROLES)]
        role: String,
        /// Limit it to a group of relays; may be given several times.
        #[arg(long = "group", value_name = "GROUP")]
        groups: Vec<String>,
        /// For how long: seconds, or with m, h or d behind the number [default: until it is revoked].
        #[arg(long, value_name = "TIME")]
        valid: Option<Lifetime>,
        /// Write it to this file (mode 0600) instead of showing it.
        #[arg(short, long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
    /// Revoke a token; whoever is connected with it is disconnected.
    Revoke {
        /// Its name.
        name: String,
    },
}

/// `tinymlaas group …`.
#[derive(Debug, Subcommand)]
pub enum GroupVerb {
    /// All groups with their relays.
    List,
    /// Make a group of these relays, or change one.
    Set {
        /// Its name.
        name: String,
        /// The relays.
        relays: Vec<RelayId>,
    },
    /// Remove a group; whoever is limited to it alone reaches no relay.
    Remove {
        /// Its name.
        name: String,
    },
}

/// `tinymlaas key …`.
#[derive(Debug, Subcommand)]
pub enum KeyVerb {
    /// The keys there were, and relays that do not follow the newest.
    List,
    /// Make a new key, have the old one vouch for it, and erase the old one.
    Rotate,
}

/// `tinymlaas audit`.
#[derive(Debug, Clone, ClapArgs)]
pub struct Audit {
    /// Only by this user or token.
    #[arg(long, value_name = "NAME")]
    pub actor: Option<String>,
    /// Only actions that begin so: `command.`, `login`, `token.create`.
    #[arg(long, value_name = "ACTION")]
    pub action: Option<String>,
    /// Only on this relay, RELAY/DEVICE, user, token or model.
    #[arg(long, value_name = "TARGET")]
    pub target: Option<String>,
    /// Only with this result: `ok`, `forbidden`, `unauthorized`.
    #[arg(long, value_name = "CODE")]
    pub result: Option<String>,
    /// Only from this time on, such as 2026-11-23T12:00:00Z.
    #[arg(long, value_name = "TIME")]
    pub since: Option<String>,
    /// Only before this time.
    #[arg(long, value_name = "TIME")]
    pub until: Option<String>,
    /// How many, newest first.
    #[arg(long, default_value_t = 100, value_name = "N")]
    pub limit: u32,
    /// Write all of it to standard output, oldest first.
    #[arg(long, value_name = "FORMAT", value_parser = ["jsonl", "csv"])]
    pub export: Option<String>,
}
