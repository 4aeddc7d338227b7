//! Devices: names by serial number, what is installed, how they are observed.

use contract::command::Observe;
use contract::ids::DeviceId;
use contract::state::Firmware;
use sea_orm::sqlx::{Row as _, query};
use serde::{Deserialize, Serialize};

use super::{Journal, Result, from_json, to_json};

/// What is installed on a device, and where its image is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Installed {
    /// What the state reports.
    pub firmware: Firmware,
    /// Key of the image in the build cache; absent if the relay did not build it.
    pub image: Option<String>,
}

/// A device as the journal keeps it.
#[derive(Debug, Clone, PartialEq)]
pub struct DeviceRow {
    /// Its name, given once and kept.
    pub name: DeviceId,
    /// What identifies it across ports.
    pub serial_number: Option<String>,
    /// Its board type: set by hand, or as it was recognised.
    pub board: String,
    /// The board type that was set by hand.
    pub by_hand: Option<String>,
    /// Who made it.
    pub manufacturer: Option<String>,
    /// Its USB id, `vid:pid` in hexadecimal.
    pub usb: Option<String>,
    /// What it is, for people.
    pub product: Option<String>,
    /// Where it was seen last.
    pub port: String,
    /// How it is to be observed.
    pub observe: Option<Observe>,
    /// What is installed.
    pub firmware: Option<Installed>,
    /// What was installed before.
    pub previous: Option<Installed>,
    /// Its flash is being written by a programmer that leaves half of a firmware when it is cut. Set before, and taken
    /// back once a firmware has answered.
    pub unsettled: bool,
}

impl Journal {
    /// All devices that were ever seen, by name.
    ///
    /// # Errors
    /// [`crate::error::JournalError`].
    pub async fn devices(&self) -> Result<Vec<DeviceRow>> {
        let sql = "SELECT name, serial_number, board, product, port, observe, firmware, previous, unsettled, \
                   by_hand, manufacturer, usb FROM devices";
        let rows = query(sql).fetch_all(&self.pool).await?;
        let mut devices = Vec::new();
        for row in rows {
            let name: String = row.try_get(0)?;
            let Ok(name) = DeviceId::new(name) else { continue };
            let json = |index| row.try_get::<Option<String>, usize>(index);
            devices.push(DeviceRow {
                name,
                serial_number: row.try_get(1)?,
                board: row.try_get(2)?,
                product: row.try_get(3)?,
                port: row.try_get(4)?,
                observe: json(5)?.map(|text| from_json("observe", &text)).transpose()?,
                firmware: json(6)?.map(|text| from_json("firmware", &text)).transpose()?,
                previous: json(7)?.map(|text| from_json("firmware", &text)).transpose()?,
                unsettled: row.try_get(8)?,
                by_hand: row.try_get(9)?,
                manufacturer: row.try_get(10)?,
                usb: row.try_get(11)?,
            });
        }
        Ok(devices)
    }

    /// Keeps a device.
    ///
    /// # Errors
    /// [`crate::error::JournalError`].
    pub async fn keep_device(&self, device: &DeviceRow) -> Result<()> {
        query(
            "INSERT INTO devices (name, serial_number, board, product, port, observe, firmware, previous, unsettled, \
             by_hand, manufacturer, usb) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (name) DO UPDATE SET \
             serial_number = excluded.serial_number, board = excluded.board, product = excluded.product, \
             port = excluded.port, observe = excluded.observe, firmware = excluded.firmware, \
             previous = excluded.previous, unsettled = excluded.unsettled, \
             by_hand = excluded.by_hand, manufacturer = excluded.manufacturer, usb = excluded.usb",
        )
        .bind(device.name.as_str())
        .bind(&device.serial_number)
        .bind(&device.board)
        .bind(&device.product)
        .bind(&device.port)
        .bind(device.observe.as_ref().map(to_json))
        .bind(device.firmware.as_ref().map(to_json))
        .bind(device.previous.as_ref().map(to_json))
        .bind(device.unsettled)
        .bind(&device.by_hand)
        .bind(&device.manufacturer)
        .bind(&device.usb)
        .execute(&self.pool)
        .await?;
        Ok(())
    }
}
