//! The commands that keep what a console shows.

use std::path::PathBuf;

use clap::Args;

use super::bus_address;
use super::units::duration;

/// Record what a console shows, and what the guest plays, until Ctrl-C: FILE is Matroska (.mkv)
///
/// Of a qemu-spice that runs, which keeps the H.264 and the Opus that viewers get: nothing is encoded anew where they
/// see all of the console. The file plays, up to the end, whichever program ends and how. A picture of another size
/// goes on in it. The guest's pointer is in it only where the guest draws that into its picture.
#[derive(Args, Clone, Debug)]
pub(crate) struct Record {
    /// The file
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,

    /// The console's number, which `status` shows
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) console: u32,

    /// End after this time, such as 90s, 30m or 2h
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub(crate) time: Option<u64>,

    /// Write over a file that is there
    #[arg(long)]
    pub(crate) force: bool,

    /// Look on the bus at this address [default: the session bus]
    #[arg(long, short = 'a', value_name = "ADDRESS", value_parser = bus_address)]
    pub(crate) dbus_address: Option<String>,

    /// Which qemu-spice, by its name on the bus; `status` tells them
    #[arg(long, value_name = "NAME", default_value = "org.qemu.spice")]
    pub(crate) server: String,
}

/// Write what a console shows now to a PNG file: each pixel as it is
///
/// Of a qemu-spice that runs. The guest's pointer is in it only where the guest draws that into its picture.
#[derive(Args, Clone, Debug)]
pub(crate) struct Screenshot {
    /// The file; - is standard output
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,

    /// The console's number, which `status` shows
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) console: u32,

    /// Write over a file that is there
    #[arg(long)]
    pub(crate) force: bool,

    /// Look on the bus at this address [default: the session bus]
    #[arg(long, short = 'a', value_name = "ADDRESS", value_parser = bus_address)]
    pub(crate) dbus_address: Option<String>,

    /// Which qemu-spice, by its name on the bus; `status` tells them
    #[arg(long, value_name = "NAME", default_value = "org.qemu.spice")]
    pub(crate) server: String,
}
