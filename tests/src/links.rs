//! The network between the members: a proxy before each peer listener, which can hold back or slow down what one
//! member sends to another, one way or both.
//!
//! All members know each other by the proxies' addresses. Which of them a connection comes from, the proxy learns
//! from the system: the process that owns the other end of it.

use std::{
    collections::HashMap,
    fs,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::{mpsc, watch},
    task::JoinSet,
    time::{Instant, sleep_until},
};

use crate::wait::pace;

/// What happens to bytes on their way from one member to another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Flow {
    /// They pass.
    #[default]
    Open,
    /// They wait until the link is open again.
    Held,
    /// They arrive this much later.
    Delayed(Duration),
}

/// What is sent over a connection: by the member that opened it, or by the other in answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Part {
    Requests,
    Answers,
}

/// By sender, receiver and part.
type Flows = HashMap<(u64, u64, Part), Flow>;

/// The links between all members, each in two directions.
#[derive(Clone, Debug)]
pub struct Links {
    flows: Arc<watch::Sender<Flows>>,
    pids: Arc<Mutex<HashMap<u64, u32>>>,
    affected: Arc<AtomicU64>,
    tasks: Arc<Mutex<JoinSet<()>>>,
}

impl Default for Links {
    fn default() -> Self {
        Self {
            flows: Arc::new(watch::Sender::new(Flows::new())),
            pids: Arc::default(),
            affected: Arc::default(),
            tasks: Arc::default(),
        }
    }
}

impl Links {
    /// Puts a proxy before member `to`, whose peer listener is at `target`.
    pub(crate) fn stand_before(&self, to: u64, listener: std::net::TcpListener, target: SocketAddr) {
        listener.set_nonblocking(true).expect("a listener can be made non-blocking");
        let listener = TcpListener::from_std(listener).expect("the runtime takes a listener");
        let (flows, pids, affected) = (self.flows.clone(), self.pids.clone(), self.affected.clone());
        // A strong one would keep the set alive that this task is in.
        let tasks = Arc::downgrade(&self.tasks);
        let accept = async move {
            while let Ok((inbound, sender)) = listener.accept().await {
                let Some(tasks) = tasks.upgrade() else { return };
                let (flows, pids, affected) = (flows.clone(), pids.clone(), affected.clone());
                tasks.lock().expect("no holder panics").spawn(async move {
                    // Whose connection is not known is none of ours to carry: it would get round every fault.
                    if let Some(from) = sender_of(sender, &pids).await
                        && let Ok(outbound) = TcpStream::connect(target).await
                    {
                        carry(inbound, outbound, from, to, &flows, &affected).await;
                    }
                });
            }
        };
        self.tasks.lock().expect("no holder panics").spawn(accept);
    }

    /// Tells which process a member is.
    pub(crate) fn learn(&self, member: u64, pid: u32) {
        self.pids.lock().expect("no holder panics").insert(member, pid);
    }

    /// Sets what happens to all that `from` sends to `to`.
    pub fn set(&self, from: u64, to: u64, flow: Flow) {
        self.flows.send_modify(|flows| {
            flows.extend([Part::Requests, Part::Answers].map(|part| ((from, to, part), flow)));
        });
    }

    /// Sets what happens to what `from` asks of `to`, such as to append to its log; its answers to what `to` asks pass
    /// as they did.
    pub fn set_requests(&self, from: u64, to: u64, flow: Flow) {
        self.flows.send_modify(|flows| {
            flows.insert((from, to, Part::Requests), flow);
        });
    }

    /// Cuts a member off: nothing reaches it, and nothing that it sends arrives.
    pub fn cut_off(&self, member: u64) {
        for other in (1..=MEMBERS_MAX).filter(|other| *other != member) {
            self.set(other, member, Flow::Held);
            self.set(member, other, Flow::Held);
        }
    }

    /// Opens all links. What was held arrives now.
    pub fn heal(&self) {
        self.flows.send_modify(Flows::clear);
    }

    /// How many pieces of traffic were held or delayed so far: the proof that a fault took effect.
    pub fn affected(&self) -> u64 {
        self.affected.load(Ordering::Relaxed)
    }
}

/// More members than any test has.
const MEMBERS_MAX: u64 = 9;

/// Carries one connection: what is asked goes `from -> to`, what is answered `to -> from`.
async fn carry(
    inbound: TcpStream,
    outbound: TcpStream,
    from: u64,
    to: u64,
    flows: &watch::Sender<Flows>,
    affected: &AtomicU64,
) {
    // Small messages must not wait for more.
    let _ = inbound.set_nodelay(true);
    let _ = outbound.set_nodelay(true);
    let (from_asker, to_asker) = inbound.into_split();
    let (from_asked, to_asked) = outbound.into_split();
    tokio::join!(
        one_way(from_asker, to_asked, (from, to, Part::Requests), flows.subscribe(), affected),
        one_way(from_asked, to_asker, (to, from, Part::Answers), flows.subscribe(), affected),
    );
}

/// Carries one direction in order. Reading goes on while earlier bytes are held or delayed, as a network would take
/// them too; a closed end is passed on after the bytes before it.
async fn one_way(
    mut source: OwnedReadHalf,
    mut sink: OwnedWriteHalf,
    link: (u64, u64, Part),
    mut flows: watch::Receiver<Flows>,
    affected: &AtomicU64,
) {
    let (queue, mut queued) = mpsc::channel::<(Instant, Vec<u8>)>(1024);
    let read = async {
        let mut buffer = vec![0; 64 * 1024];
        while let Ok(length @ 1..) = source.read(&mut buffer).await {
            if queue.send((Instant::now(), buffer[..length].to_vec())).await.is_err() {
                break;
            }
        }
        drop(queue);
    };
    let write = async {
        while let Some((arrived, bytes)) = queued.recv().await {
            let mut counted = false;
            loop {
                let flow = flows.borrow_and_update().get(&link).copied().unwrap_or_default();
                if flow != Flow::Open && !counted {
                    affected.fetch_add(1, Ordering::Relaxed);
                    counted = true;
                }
                match flow {
                    Flow::Open => break,
                    Flow::Held => {
                        if flows.changed().await.is_err() {
                            return;
                        }
                    }
                    Flow::Delayed(by) => {
                        tokio::select! {
                            () = sleep_until(arrived + by) => break,
                            _ = flows.changed() => {}
                        }
                    }
                }
            }
            if sink.write_all(&bytes).await.is_err() {
                return;
            }
        }
        let _ = sink.shutdown().await;
    };
    tokio::join!(read, write);
}

/// How often to look for the owner of a connection: the system's tables may miss a row while others change.
const LOOKS: u32 = 50;

/// The member whose process has the other end of a connection, which is at `end`.
async fn sender_of(end: SocketAddr, pids: &Mutex<HashMap<u64, u32>>) -> Option<u64> {
    for _ in 0..LOOKS {
        let pids = pids.lock().expect("no holder panics").clone();
        if let Some(member) = owner_of(end, &pids) {
            return Some(member);
        }
        pace(Duration::from_millis(2)).await;
    }
    None
}

fn owner_of(end: SocketAddr, pids: &HashMap<u64, u32>) -> Option<u64> {
    let socket = format!("socket:[{}]", inode_of(end)?);
    let owns = |pid: u32| {
        let files = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
        files
            .into_iter()
            .any(|file| fs::read_link(file.path()).is_ok_and(|link| link.as_os_str() == &*socket))
    };
    pids.iter().find(|(_, pid)| owns(**pid)).map(|(member, _)| *member)
}

/// The number of the socket bound to a local IPv4 address, from the system's table.
fn inode_of(end: SocketAddr) -> Option<u64> {
    let SocketAddr::V4(end) = end else { return None };
    // The table has addresses in the machine's byte order, in hexadecimal.
    let wanted = format!("{:08X}:{:04X}", u32::from_ne_bytes(end.ip().octets()), end.port());
    let table = fs::read_to_string("/proc/net/tcp").ok()?;
    table.lines().skip(1).find_map(|line| {
        let mut columns = line.split_whitespace();
        (columns.nth(1)? == wanted).then(|| columns.nth(7)?.parse().ok())?
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn pair() -> (Links, TcpStream, TcpStream) {
        let target = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let proxy = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = proxy.local_addr().expect("it is bound");
        let links = Links::default();
        // This test is its own sender.
        links.learn(1, std::process::id());
        links.stand_before(2, proxy, target.local_addr().expect("it is bound"));
        let asker = TcpStream::connect(address).await.expect("the proxy listens");
        let (asked, _) = target.accept().await.expect("the proxy connects");
        (links, asker, asked)
    }

    async fn arrives(stream: &mut TcpStream) -> bool {
        let mut byte = [0];
        tokio::time::timeout(Duration::from_millis(100), stream.read_exact(&mut byte)).await.is_ok()
    }

    #[tokio::test]
    async fn each_direction_is_held_by_itself_and_healing_delivers() {
        let (links, mut asker, mut asked) = pair().await;
        asker.write_all(b"a").await.expect("open");
        assert!(arrives(&mut asked).await);
        assert_eq!(links.affected(), 0);

        links.set(1, 2, Flow::Held);
        asker.write_all(b"b").await.expect("open");
        asked.write_all(b"c").await.expect("open");
        assert!(!arrives(&mut asked).await, "asked is cut off from asker");
        assert!(arrives(&mut asker).await, "not asker from asked");
        assert_eq!(links.affected(), 1);

        links.heal();
        assert!(arrives(&mut asked).await, "what was held arrives");
    }

    #[tokio::test]
    async fn a_delay_is_kept() {
        let (links, mut asker, mut asked) = pair().await;
        let delay = Duration::from_millis(50);
        links.set(2, 1, Flow::Delayed(delay));
        let sent = Instant::now();
        asked.write_all(b"d").await.expect("open");
        assert!(arrives(&mut asker).await);
        assert!(sent.elapsed() >= delay);
    }
}
