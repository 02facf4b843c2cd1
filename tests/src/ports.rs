//! Free ports.
//!
//! Asking the system for port 0 and passing on what it gave has a flaw: that port lies in the range from which outgoing
//! connections take theirs, so a dead node's port may be gone when the node is to start again. These ports are
//! chosen at random below that range, and tried.

use std::{
    collections::HashSet,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    sync::{LazyLock, Mutex},
};

/// Below Linux's range for outgoing connections, which begins at 32768.
const RANGE: std::ops::Range<u16> = 12_000..32_000;

/// What this process has given out: two clusters of one test binary must not choose the same while neither listens.
static GIVEN: LazyLock<Mutex<HashSet<u16>>> = LazyLock::new(|| Mutex::new(HashSet::new()));

/// An address on loopback where nobody listens.
///
/// # Panics
/// Nearly every port is taken.
pub fn free() -> SocketAddr {
    let mut given = GIVEN.lock().expect("no holder panics");
    for _ in 0..10_000 {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, fastrand::u16(RANGE)));
        if !given.contains(&address.port()) && TcpListener::bind(address).is_ok() {
            given.insert(address.port());
            return address;
        }
    }
    panic!("no free port in {RANGE:?} after 10,000 tries");
}
