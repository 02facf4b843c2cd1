//! What waits in a process's sockets, as the system sees it: the proof that something was sent to a process that is
//! paused and can't say so.

use std::fs;

/// Connections to a local IPv4 port over which bytes have arrived that nobody has read yet.
///
/// # Panics
/// The system has no table of its connections.
pub fn unread(port: u16) -> usize {
    let table = fs::read_to_string("/proc/net/tcp").expect("Linux has a table of its connections");
    table.lines().skip(1).filter(|row| is_unread(row, port)).count()
}

/// A row: its number, the local address, the remote one, the state, `tx_queue:rx_queue`, all in hexadecimal.
fn is_unread(row: &str, port: u16) -> bool {
    let mut columns = row.split_whitespace().skip(1);
    let (Some(local), Some(_), Some(state), Some(queues)) =
        (columns.next(), columns.next(), columns.next(), columns.next())
    else {
        return false;
    };
    let hex = |text: Option<&str>| text.and_then(|text| u64::from_str_radix(text, 16).ok());
    // 01 is an established connection; a listener's queue counts connections.
    state == "01"
        && hex(local.split(':').nth(1)) == Some(port.into())
        && hex(queues.split(':').nth(1)).is_some_and(|bytes| bytes > 0)
}

#[cfg(test)]
mod tests {
    use std::{
        io::{Read as _, Write as _},
        net::{TcpListener, TcpStream},
    };

    use super::*;

    #[test]
    fn what_was_sent_is_seen_before_it_is_read_and_not_after() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let mut sender = TcpStream::connect(address).expect("it listens");
        assert_eq!(unread(address.port()), 0);
        sender.write_all(b"x").expect("open");
        // On loopback it has arrived when the call returns; nobody has accepted the connection yet.
        assert_eq!(unread(address.port()), 1);
        let (mut receiver, _) = listener.accept().expect("it waits");
        receiver.read_exact(&mut [0]).expect("a byte");
        assert_eq!(unread(address.port()), 0);
    }
}
