//! The async runtime that openraft runs on: tokio, and more patience with the other members than openraft has.
//!
//! openraft gives a heartbeat up once the next one is due, and a vote after the shortest election timeout. Over a link
//! whose round trip takes longer than that it never hears an answer, although each one comes: its leader keeps its
//! followers from electing another, and neither commits nor confirms anything. openraft can't be told to wait longer
//! than its heartbeat interval, so it is done here, where it asks the runtime to.

use std::{future::Future, io, time::Duration};

use openraft::{
    OptionalSend,
    async_runtime::{AsyncRuntime, Mpsc, TryRecvError},
    impls::TokioRuntime,
};

/// How long a heartbeat or a vote may take, both ways and the remote disk included. Waiting longer than for a leader's
/// lease (the longest election timeout) is of no use: what is acknowledged later says nothing about now.
pub(super) const ANSWER_PATIENCE: Duration = Duration::from_millis(1_200);

/// tokio, whose time-outs are never shorter than [`ANSWER_PATIENCE`]. Points in time ([`AsyncRuntime::timeout_at`]) are
/// left as they are: that is how openraft keeps the deadlines that it is given.
#[derive(Debug)]
pub struct PatientRuntime(TokioRuntime);

impl AsyncRuntime for PatientRuntime {
    type JoinError = <TokioRuntime as AsyncRuntime>::JoinError;
    type JoinHandle<T: OptionalSend + 'static> = <TokioRuntime as AsyncRuntime>::JoinHandle<T>;
    type Sleep = <TokioRuntime as AsyncRuntime>::Sleep;
    type Instant = <TokioRuntime as AsyncRuntime>::Instant;
    type TimeoutError = <TokioRuntime as AsyncRuntime>::TimeoutError;
    type Timeout<R, T: Future<Output = R> + OptionalSend> = <TokioRuntime as AsyncRuntime>::Timeout<R, T>;
    type ThreadLocalRng = <TokioRuntime as AsyncRuntime>::ThreadLocalRng;
    type Mpsc = <TokioRuntime as AsyncRuntime>::Mpsc;
    type Watch = <TokioRuntime as AsyncRuntime>::Watch;
    type Oneshot = <TokioRuntime as AsyncRuntime>::Oneshot;
    type Mutex<T: OptionalSend + 'static> = <TokioRuntime as AsyncRuntime>::Mutex<T>;

    fn spawn<T>(future: T) -> Self::JoinHandle<T::Output>
    where
        T: Future + OptionalSend + 'static,
        T::Output: OptionalSend + 'static,
    {
        TokioRuntime::spawn(future)
    }

    fn sleep(duration: Duration) -> Self::Sleep {
        TokioRuntime::sleep(duration)
    }

    fn sleep_until(deadline: Self::Instant) -> Self::Sleep {
        TokioRuntime::sleep_until(deadline)
    }

    fn timeout<R, F: Future<Output = R> + OptionalSend>(
        duration: Duration,
        future: F,
    ) -> Self::Timeout<R, F> {
        TokioRuntime::timeout(duration.max(ANSWER_PATIENCE), future)
    }

    fn timeout_at<R, F: Future<Output = R> + OptionalSend>(
        deadline: Self::Instant,
        future: F,
    ) -> Self::Timeout<R, F> {
        TokioRuntime::timeout_at(deadline, future)
    }

    fn is_panic(join_error: &Self::JoinError) -> bool {
        TokioRuntime::is_panic(join_error)
    }

    fn thread_rng() -> Self::ThreadLocalRng {
        TokioRuntime::thread_rng()
    }

    fn new(threads: usize) -> Self {
        Self(TokioRuntime::new(threads))
    }

    fn block_on<F: Future<Output = T>, T>(&mut self, future: F) -> T {
        self.0.block_on(future)
    }

    fn spawn_blocking<F, T>(f: F) -> impl Future<Output = Result<T, io::Error>> + Send
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        TokioRuntime::spawn_blocking(f)
    }

    fn mpsc_recv_deadline<T: OptionalSend>(
        receiver: &mut <Self::Mpsc as Mpsc>::Receiver<T>,
        deadline: Self::Instant,
    ) -> impl Future<Output = Result<T, TryRecvError>> + OptionalSend {
        TokioRuntime::mpsc_recv_deadline(receiver, deadline)
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use tokio::time::Instant;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_answer_is_waited_for_beyond_the_heartbeat_interval_and_not_for_ever() {
        let begun = Instant::now();
        let late = async {
            tokio::time::sleep(Duration::from_millis(700)).await;
            "late"
        };
        let answer = PatientRuntime::timeout(Duration::from_millis(150), late).await;
        assert_eq!(answer.expect("waited for"), "late");
        assert!(PatientRuntime::timeout(Duration::from_millis(150), pending::<()>()).await.is_err());
        assert_eq!(begun.elapsed(), Duration::from_millis(700) + ANSWER_PATIENCE);

        let long = 3 * ANSWER_PATIENCE;
        let begun = Instant::now();
        assert!(PatientRuntime::timeout(long, pending::<()>()).await.is_err());
        assert_eq!(begun.elapsed(), long, "who asks for more has it");
    }
}
