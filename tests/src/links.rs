//! The network between the members: a proxy before each peer listener, which can hold back or slow down what one
//! member sends to another, one way or both.
//!
//! All members know each other by the proxies' addresses. Which of them a connection comes from, the proxy learns
//! from the system: the process that owns the other end of it.

mod sender;

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{Arc, Mutex},
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

use self::sender::sender_of;

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
    /// They are lost, and the connections with them; new ones end at once.
    Broken,
    /// They are lost, and nobody is told: the connections stay, and what is sent after that is torn.
    Swallowed,
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
    affected: Affected,
    budgets: Budgets,
    tasks: Arc<Mutex<JoinSet<()>>>,
}

/// How many pieces of what one member sent to another did not pass as they came, by what first happened to each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pieces {
    /// They waited.
    pub held: u64,
    /// They arrived later.
    pub delayed: u64,
    /// They did not arrive.
    pub lost: u64,
}

type Affected = Arc<Mutex<HashMap<(u64, u64), Pieces>>>;

/// How many bytes of what one member sends to another still pass, where that is limited.
type Budgets = Arc<Mutex<HashMap<(u64, u64), usize>>>;

impl Default for Links {
    fn default() -> Self {
        Self {
            flows: Arc::new(watch::Sender::new(Flows::new())),
            pids: Arc::default(),
            affected: Arc::default(),
            budgets: Arc::default(),
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
        let budgets = self.budgets.clone();
        // A strong one would keep the set alive that this task is in.
        let tasks = Arc::downgrade(&self.tasks);
        let accept = async move {
            while let Ok((inbound, _)) = listener.accept().await {
                let Some(tasks) = tasks.upgrade() else { return };
                let (flows, pids, affected) = (flows.clone(), pids.clone(), affected.clone());
                let budgets = budgets.clone();
                tasks.lock().expect("no holder panics").spawn(async move {
                    // Whose connection is not known is none of ours to carry: it would get round every fault.
                    if let Some(from) = sender_of(&inbound, &pids).await
                        && let Ok(outbound) = TcpStream::connect(target).await
                    {
                        let carried = carry(inbound, outbound, (from, to), &flows, &affected, &budgets);
                        // Both ends are closed as this is dropped.
                        tokio::select! {
                            () = carried => {}
                            () = broken((from, to), flows.subscribe()) => {}
                        }
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

    /// Lets this many bytes more pass from one member to another, and breaks the link between them in the middle of
    /// what comes then.
    pub fn break_after(&self, from: u64, to: u64, bytes: usize) {
        self.budgets.lock().expect("no holder panics").insert((from, to), bytes);
    }

    /// Whether the link between two members is broken.
    pub fn is_broken(&self, from: u64, to: u64) -> bool {
        self.flows.borrow().get(&(from, to, Part::Requests)) == Some(&Flow::Broken)
    }

    /// Opens all links. What was held arrives now.
    pub fn heal(&self) {
        self.budgets.lock().expect("no holder panics").clear();
        self.flows.send_modify(Flows::clear);
    }

    /// Limits no more what passes from one member to another.
    pub fn no_limit(&self, from: u64, to: u64) {
        self.budgets.lock().expect("no holder panics").remove(&(from, to));
    }

    /// Opens what is between two members, both ways, and limits it no more.
    pub fn open_between(&self, one: u64, other: u64) {
        for (from, to) in [(one, other), (other, one)] {
            self.no_limit(from, to);
            self.set(from, to, Flow::Open);
        }
    }

    /// How many pieces did not pass as they came so far: the proof that a fault took effect.
    pub fn affected(&self) -> u64 {
        self.affected.lock().expect("no holder panics").values().map(Pieces::all).sum()
    }

    /// The same of what one member sent to another.
    pub fn affected_from(&self, from: u64, to: u64) -> u64 {
        self.pieces(from, to).all()
    }

    /// What happened to what one member sent to another so far.
    pub fn pieces(&self, from: u64, to: u64) -> Pieces {
        self.affected.lock().expect("no holder panics").get(&(from, to)).copied().unwrap_or_default()
    }
}

impl Pieces {
    fn all(&self) -> u64 {
        self.held + self.delayed + self.lost
    }

    /// Counts a piece to which this happened.
    fn count(&mut self, flow: Flow) {
        match flow {
            Flow::Open => {}
            Flow::Held => self.held += 1,
            Flow::Delayed(_) => self.delayed += 1,
            Flow::Broken | Flow::Swallowed => self.lost += 1,
        }
    }
}

/// More members than any test has.
const MEMBERS_MAX: u64 = 9;

/// Returns when what one member opened to another is broken.
async fn broken((from, to): (u64, u64), mut flows: watch::Receiver<Flows>) {
    let breaks = |flows: &Flows| {
        [(from, to, Part::Requests), (to, from, Part::Answers)]
            .iter()
            .any(|link| flows.get(link) == Some(&Flow::Broken))
    };
    if flows.wait_for(breaks).await.is_err() {
        // Nobody can break anything any more.
        std::future::pending::<()>().await;
    }
}

/// Carries one connection: what is asked goes `from -> to`, what is answered `to -> from`.
async fn carry(
    inbound: TcpStream,
    outbound: TcpStream,
    (from, to): (u64, u64),
    flows: &watch::Sender<Flows>,
    affected: &Affected,
    budgets: &Budgets,
) {
    // Small messages must not wait for more.
    let _ = inbound.set_nodelay(true);
    let _ = outbound.set_nodelay(true);
    let (from_asker, to_asker) = inbound.into_split();
    let (from_asked, to_asked) = outbound.into_split();
    tokio::join!(
        one_way(from_asker, to_asked, (from, to, Part::Requests), flows, affected, budgets),
        one_way(from_asked, to_asker, (to, from, Part::Answers), flows, affected, budgets),
    );
}

/// Carries one direction in order. Reading goes on while earlier bytes are held or delayed, as a network would take
/// them too; a closed end is passed on after the bytes before it.
async fn one_way(
    mut source: OwnedReadHalf,
    mut sink: OwnedWriteHalf,
    link: (u64, u64, Part),
    all: &watch::Sender<Flows>,
    affected: &Affected,
    budgets: &Budgets,
) {
    let mut flows = all.subscribe();
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
        'carry: while let Some((arrived, bytes)) = queued.recv().await {
            let mut counted = false;
            loop {
                let flow = flows.borrow_and_update().get(&link).copied().unwrap_or_default();
                if flow != Flow::Open && !counted {
                    count(affected, (link.0, link.1), flow);
                    counted = true;
                }
                match flow {
                    Flow::Open => break,
                    Flow::Broken => break 'carry,
                    Flow::Swallowed => continue 'carry,
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
            let passes = within_budget(budgets, (link.0, link.1), bytes.len());
            if sink.write_all(&bytes[..passes]).await.is_err() {
                return;
            }
            if passes < bytes.len() {
                count(affected, (link.0, link.1), Flow::Broken);
                let (one, other) = (link.0, link.1);
                all.send_modify(|flows| {
                    for part in [Part::Requests, Part::Answers] {
                        flows.extend([(one, other), (other, one)].map(|(a, b)| ((a, b, part), Flow::Broken)));
                    }
                });
                // The link may be open again before anybody sees that it was broken: what comes now must not follow.
                break;
            }
        }
        let _ = sink.shutdown().await;
    };
    tokio::join!(read, write);
}

fn count(affected: &Affected, link: (u64, u64), flow: Flow) {
    affected.lock().expect("no holder panics").entry(link).or_default().count(flow);
}

/// How many of these bytes still pass.
fn within_budget(budgets: &Budgets, link: (u64, u64), bytes: usize) -> usize {
    let mut budgets = budgets.lock().expect("no holder panics");
    let Some(left) = budgets.get_mut(&link) else { return bytes };
    let passes = bytes.min(*left);
    *left -= passes;
    if passes < bytes {
        budgets.remove(&link);
    }
    passes
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
        assert_eq!(links.pieces(1, 2), Pieces { held: 1, ..Pieces::default() });
        assert_eq!((links.affected(), links.affected_from(2, 1)), (1, 0));

        links.heal();
        assert!(arrives(&mut asked).await, "what was held arrives");
    }

    #[tokio::test]
    async fn a_link_breaks_in_the_middle_of_a_message() {
        let (links, mut asker, mut asked) = pair().await;
        links.break_after(1, 2, 3);
        asker.write_all(b"abcde").await.expect("open");
        let mut all = Vec::new();
        asked.read_to_end(&mut all).await.expect("closed");
        assert_eq!(all, b"abc");
        assert_eq!(asker.read(&mut [0]).await.unwrap_or(0), 0, "its end is closed too");
        assert!(links.is_broken(1, 2) && links.is_broken(2, 1));
        links.open_between(1, 2);
        assert!(!links.is_broken(1, 2));
    }

    #[tokio::test]
    async fn what_is_swallowed_never_comes_and_the_connection_stays() {
        let (links, mut asker, mut asked) = pair().await;
        links.set(1, 2, Flow::Swallowed);
        asker.write_all(b"a").await.expect("open");
        assert!(!arrives(&mut asked).await);
        assert_eq!(links.pieces(1, 2), Pieces { lost: 1, ..Pieces::default() });
        links.heal();
        asker.write_all(b"b").await.expect("still open");
        let mut byte = [0];
        asked.read_exact(&mut byte).await.expect("still open");
        assert_eq!(&byte, b"b");
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
        assert_eq!(links.pieces(2, 1), Pieces { delayed: 1, ..Pieces::default() });
    }
}
