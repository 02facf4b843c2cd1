//! Which member opened a connection, as the system tells: the one whose process has its other end.

use std::{collections::HashMap, fs, net::SocketAddr, sync::Mutex, time::Duration};

use tokio::net::TcpStream;

use crate::wait::pace;

/// How often to look for the owner of a connection: the system's tables may miss a row while others change.
const LOOKS: u32 = 50;

/// The member whose process has the other end of a connection. `None` when nobody has: who gave up
/// waiting has closed it, and many look-ups for those would keep a busy machine busy.
pub(super) async fn sender_of(connection: &TcpStream, pids: &Mutex<HashMap<u64, u32>>) -> Option<u64> {
    let (end, here) = (connection.peer_addr().ok()?, connection.local_addr().ok()?);
    for _ in 0..LOOKS {
        match socket_between(end, here) {
            Some(Socket::Open(inode)) => {
                let pids = pids.lock().expect("no holder panics").clone();
                if let Some(member) = owner_of(&inode, &pids) {
                    return Some(member);
                }
            }
            Some(Socket::Closed) => return None,
            None => {}
        }
        pace(Duration::from_millis(2)).await;
    }
    None
}

fn owner_of(inode: &str, pids: &HashMap<u64, u32>) -> Option<u64> {
    let socket = format!("socket:[{inode}]");
    let owns = |pid: u32| {
        let files = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
        files
            .into_iter()
            .any(|file| fs::read_link(file.path()).is_ok_and(|link| link.as_os_str() == &*socket))
    };
    pids.iter().find(|(_, pid)| owns(**pid)).map(|(member, _)| *member)
}

/// A socket in the system's table.
enum Socket {
    /// A process has it, by this number.
    Open(String),
    /// No process has it any more.
    Closed,
}

/// The socket of a connection from one IPv4 address to another, from the system's table. By both: another connection from
/// the same address may have ended a moment ago, and is there still.
fn socket_between(end: SocketAddr, here: SocketAddr) -> Option<Socket> {
    /// The state of a connection that both ends have.
    const ESTABLISHED: &str = "01";
    let (end, here) = (in_table(end)?, in_table(here)?);
    let table = fs::read_to_string("/proc/net/tcp").ok()?;
    table.lines().skip(1).find_map(|line| {
        let mut columns = line.split_whitespace().skip(1);
        (columns.next()? == end && columns.next()? == here).then_some(())?;
        let state = columns.next()?;
        let inode = columns.nth(5)?;
        Some(if state == ESTABLISHED { Socket::Open(inode.to_owned()) } else { Socket::Closed })
    })
}

/// An address as the table has it: in the machine's byte order, in hexadecimal.
fn in_table(address: SocketAddr) -> Option<String> {
    let SocketAddr::V4(address) = address else { return None };
    Some(format!("{:08X}:{:04X}", u32::from_ne_bytes(address.ip().octets()), address.port()))
}
