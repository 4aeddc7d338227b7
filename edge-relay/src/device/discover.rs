//! Looks for devices: virtual boards by their folders, real ones by the system's list of serial ports.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use contract::code::Code;
use contract::event::DeviceReport;
use contract::ids::DeviceId;
use contract::state::DeviceStatus;
use serde::Deserialize;

use super::registry::{Plug, Slot};
use crate::boards::Boards;
use crate::error::RelayError;
use crate::journal::DeviceRow;
use crate::relay::Relay;

/// A device that is connected now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// What it would like to be called.
    pub name: String,
    /// What identifies it across ports.
    pub serial_number: String,
    /// Its board type, `unknown` if no board file fits.
    pub board: String,
    /// What it is, for people.
    pub product: Option<String>,
    /// Who made it.
    pub manufacturer: Option<String>,
    /// Its USB id, `vid:pid` in hexadecimal.
    pub usb: Option<String>,
    /// Where it is connected.
    pub plug: Plug,
}

/// A place where devices are found.
pub trait Source: Send {
    /// Every device that is connected now.
    fn scan(&mut self) -> Vec<Found>;
}

/// `board.json` of a virtual board.
#[derive(Debug, Deserialize)]
struct BoardFile {
    board: String,
    name: String,
    serial_number: String,
    #[serde(default)]
    product: Option<String>,
    port: String,
    terminal: String,
    process: u32,
}

/// Virtual boards: one folder each with a `board.json`.
#[derive(Debug)]
pub struct VirtualBoards(pub PathBuf);

impl Source for VirtualBoards {
    fn scan(&mut self) -> Vec<Found> {
        let Ok(entries) = std::fs::read_dir(&self.0) else { return Vec::new() };
        let mut found: Vec<Found> = entries.flatten().filter_map(|entry| virtual_board(&entry.path())).collect();
        found.sort_by(|a, b| a.name.cmp(&b.name));
        found
    }
}

/// The virtual board in a folder, if it lives and its link leads to its own terminal.
pub fn virtual_board(dir: &Path) -> Option<Found> {
    let text = std::fs::read(dir.join("board.json")).ok()?;
    let file: BoardFile = serde_json::from_slice(&text).ok()?;
    // A board that was killed leaves its file behind.
    let process = i32::try_from(file.process).ok().and_then(rustix::process::Pid::from_raw)?;
    rustix::process::test_kill_process(process).ok()?;
    if is_zombie(file.process) {
        return None;
    }
    let port = dir.join(Path::new(&file.port).file_name()?);
    let terminal = std::fs::canonicalize(&port).ok()?;
    // A link that was left behind may lead to a terminal that meanwhile belongs to another board.
    if terminal != Path::new(&file.terminal) {
        return None;
    }
    Some(Found {
        name: file.name,
        serial_number: file.serial_number,
        board: file.board,
        product: file.product,
        manufacturer: None,
        usb: None,
        plug: Plug {
            port: port.display().to_string(),
            generation: format!("{} {}", file.terminal, file.process),
            folder: Some(dir.to_owned()),
            usb: None,
        },
    })
}

/// Whether a process has ended and nobody has asked how: it counts as one, and holds nothing any more.
fn is_zombie(process: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    // The name before the state is in parentheses and may hold anything.
    stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with(['Z', 'X']))
}

/// Real boards: USB serial ports, as the system lists them.
#[derive(Debug)]
pub struct UsbPorts {
    boards: Boards,
    listed: Vec<Found>,
    due: Instant,
}

impl UsbPorts {
    /// Looks up board types in `boards`.
    pub fn new(boards: Boards) -> Self {
        Self { boards, listed: Vec::new(), due: Instant::now() }
    }
}

impl Source for UsbPorts {
    fn scan(&mut self) -> Vec<Found> {
        if Instant::now() < self.due {
            return self.listed.clone();
        }
        self.due = Instant::now() + Duration::from_millis(400);
        let ports = serialport::available_ports().unwrap_or_default();
        self.listed = ports.into_iter().filter_map(|port| self.usb(port)).collect();
        self.listed.clone()
    }
}

impl UsbPorts {
    fn usb(&self, port: serialport::SerialPortInfo) -> Option<Found> {
        let serialport::SerialPortType::UsbPort(usb) = port.port_type else { return None };
        // Without a serial number the port has to stand for the device.
        let own = usb.serial_number.filter(|text| !text.trim().is_empty());
        let exact = own.as_ref().map(|number| format!("{:04x}:{:04x}:{number}", usb.vid, usb.pid));
        let serial_number = own.unwrap_or_else(|| {
            let leaf = port.port_name.rsplit('/').next().unwrap_or_default();
            format!("{:04x}-{:04x}-{leaf}", usb.vid, usb.pid)
        });
        let board = self.boards.by_usb(usb.vid, usb.pid).map_or("unknown", |board| &board.board).to_owned();
        Some(Found {
            name: format!("usb-{serial_number}"),
            serial_number,
            board,
            product: usb.product,
            manufacturer: usb.manufacturer,
            usb: Some(format!("{:04x}:{:04x}", usb.vid, usb.pid)),
            plug: Plug { generation: port.port_name.clone(), port: port.port_name, folder: None, usb: exact },
        })
    }
}

/// Looks for devices for ever.
///
/// # Errors
/// Only if the journal fails.
pub async fn run(relay: Arc<Relay>) -> Result<(), RelayError> {
    let mut sources: Vec<Box<dyn Source>> = vec![Box::new(UsbPorts::new(relay.boards.clone()))];
    if let Some(dir) = &relay.config.boards_dir {
        sources.push(Box::new(VirtualBoards(dir.clone())));
    }
    loop {
        let (back, found) = tokio::task::spawn_blocking(move || {
            let found = sources.iter_mut().flat_map(|source| source.scan()).collect::<Vec<_>>();
            (sources, found)
        })
        .await
        .map_err(|_| RelayError::Part("search for devices"))?;
        sources = back;
        apply(&relay, found).await?;
        relay.scanned.send_modify(|count| *count += 1);
        tokio::select! {
            () = tokio::time::sleep(relay.config.timeouts.scan) => {}
            () = relay.rescan.notified() => {}
        }
    }
}

async fn apply(relay: &Arc<Relay>, found: Vec<Found>) -> Result<(), RelayError> {
    let mut present = BTreeSet::new();
    for found in found {
        let slot = match known(relay, &found) {
            Some(slot) => slot,
            None => {
                let Some(row) = row(relay, &found) else { continue };
                let slot = Arc::new(Slot::new(row));
                relay.devices.add(slot.clone());
                relay.start_worker(slot.clone());
                slot
            }
        };
        if !present.insert(slot.name.clone()) {
            continue; // two devices with one serial number: the first one counts
        }
        plug_in(relay, &slot, &found).await?;
    }
    for slot in relay.devices.all() {
        if !present.contains(&slot.name) && slot.facts().plug.is_some() {
            relay.devices.update(&slot, |facts| facts.plug = None);
            slot.disturb();
            tracing::info!(relay = %relay.config.relay, device = %slot.name, "unplugged");
            report(relay, &slot, DeviceStatus::Lost, Code::DEVICE_LOST, "not connected any more");
        }
    }
    Ok(())
}

async fn plug_in(relay: &Arc<Relay>, slot: &Slot, found: &Found) -> Result<(), RelayError> {
    let before = slot.facts();
    if before.plug.as_ref() == Some(&found.plug) && before.recognised.as_ref() == Some(&found.board) {
        return Ok(());
    }
    let row = relay.devices.update(slot, |facts| {
        facts.plug = Some(found.plug.clone());
        facts.row.port.clone_from(&found.plug.port);
        facts.recognised = Some(found.board.clone());
        facts.row.board = facts.row.by_hand.clone().unwrap_or_else(|| found.board.clone());
        facts.row.product.clone_from(&found.product);
        facts.row.manufacturer.clone_from(&found.manufacturer);
        facts.row.usb.clone_from(&found.usb);
        facts.status = if facts.row.firmware.is_some() { DeviceStatus::Running } else { DeviceStatus::Empty };
        facts.problem = None;
        facts.row.clone()
    });
    relay.journal.keep_device(&row).await?;
    slot.disturb();
    tracing::info!(relay = %relay.config.relay, device = %slot.name, port = %found.plug.port, "plugged in");
    let status = slot.facts().status;
    report(relay, slot, status, Code::OK, &format!("connected at {}", found.plug.port));
    Ok(())
}

fn report(relay: &Relay, slot: &Slot, status: DeviceStatus, code: Code, message: &str) {
    relay.outbox.device(DeviceReport { device: slot.name.clone(), status, code, message: message.to_owned() });
}

/// The slot of a device that was seen before.
fn known(relay: &Relay, found: &Found) -> Option<Arc<Slot>> {
    let serial = Some(found.serial_number.as_str());
    relay.devices.all().into_iter().find(|slot| slot.facts().row.serial_number.as_deref() == serial)
}

/// A device that was never seen: it gets the name that it would like, or one with a number behind it.
fn row(relay: &Relay, found: &Found) -> Option<DeviceRow> {
    let clean: String = found
        .name
        .to_ascii_lowercase()
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.') { c } else { '-' })
        .take(56)
        .collect();
    let clean = clean.trim_start_matches(['-', '_', '.']);
    let base = if clean.is_empty() { "device" } else { clean };
    let name = (1..u32::MAX)
        .map(|number| if number == 1 { base.to_owned() } else { format!("{base}-{number}") })
        .filter_map(|name| DeviceId::new(name).ok())
        .find(|name| relay.devices.get(name).is_none());
    Some(DeviceRow {
        name: name?,
        serial_number: Some(found.serial_number.clone()),
        board: found.board.clone(),
        by_hand: None,
        product: found.product.clone(),
        manufacturer: found.manufacturer.clone(),
        usb: found.usb.clone(),
        port: found.plug.port.clone(),
        observe: None,
        firmware: None,
        previous: None,
        unsettled: false,
    })
}
