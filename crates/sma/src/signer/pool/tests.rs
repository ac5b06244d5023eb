use std::future::Future;
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use birthmark_core::endorsement::PublicKey;
use parking_lot::Mutex;

use super::*;
use crate::signer::testing::software;

/// A device that signs when it is told to, and counts how many are in it at once.
#[derive(Debug)]
struct Slow {
    signer: Arc<dyn Signer>,
    gate: Mutex<mpsc::Receiver<Answer>>,
    entered: tokio::sync::mpsc::UnboundedSender<usize>,
    inside: AtomicUsize,
}

enum Answer {
    Sign,
    Fail,
    Panic,
}

impl Signer for Slow {
    fn public_key(&self) -> &PublicKey {
        self.signer.public_key()
    }

    fn sign(&self, blinded_message: &[u8]) -> Result<Vec<u8>, SignError> {
        let inside = self.inside.fetch_add(1, Ordering::SeqCst) + 1;
        self.entered.send(inside).unwrap();
        let answer = self.gate.lock().recv().unwrap();
        self.inside.fetch_sub(1, Ordering::SeqCst);
        match answer {
            Answer::Sign => self.signer.sign(blinded_message),
            Answer::Fail => Err(SignError::Device("unplugged".into())),
            Answer::Panic => panic!("the device's driver has an error"),
        }
    }
}

struct Bench {
    signer: Arc<dyn Signer>,
    pool: SigningPool,
    gate: mpsc::Sender<Answer>,
    entered: tokio::sync::mpsc::UnboundedReceiver<usize>,
}

impl Bench {
    fn new(threads: usize, waiting: usize) -> Self {
        let (gate, answers) = mpsc::channel();
        let (entered_sender, entered) = tokio::sync::mpsc::unbounded_channel();
        let signer = Slow {
            signer: software(1),
            gate: Mutex::new(answers),
            entered: entered_sender,
            inside: AtomicUsize::new(0),
        };
        let pool = SigningPool::new(NonZeroUsize::new(threads).unwrap(), waiting);
        Self { signer: Arc::new(signer), pool, gate, entered }
    }

    fn sign(&self) -> impl Future<Output = Result<Vec<u8>, PoolError>> + use<> {
        let (pool, signer) = (self.pool.clone(), Arc::clone(&self.signer));
        async move { pool.sign(signer, vec![1; 256]).await }
    }

    /// Waits until one more signature runs; how many then run.
    async fn running(&mut self) -> usize {
        tokio::time::timeout(Duration::from_secs(30), self.entered.recv()).await.unwrap().unwrap()
    }
}

fn poll_once<T>(future: std::pin::Pin<&mut impl Future<Output = T>>) -> Poll<T> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_more_than_the_bound_run_and_all_are_served() {
    let mut bench = Bench::new(2, 10);
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..12 {
        tasks.spawn(bench.sign());
    }
    let mut most = 0;
    for _ in 0..12 {
        most = most.max(bench.running().await);
        bench.gate.send(Answer::Sign).unwrap();
    }
    let expected = software(1).sign(&[1; 256]).unwrap();
    for answer in tasks.join_all().await {
        assert_eq!(answer.unwrap(), expected);
    }
    assert!(most <= 2, "{most} at once");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_too_many_is_refused_at_once() {
    let mut bench = Bench::new(1, 1);
    let mut first = pin!(bench.sign());
    assert!(poll_once(first.as_mut()).is_pending());
    assert_eq!(bench.running().await, 1);
    let mut second = pin!(bench.sign());
    assert!(poll_once(second.as_mut()).is_pending());
    assert!(matches!(bench.sign().await, Err(PoolError::Busy)));
    bench.gate.send(Answer::Sign).unwrap();
    bench.gate.send(Answer::Sign).unwrap();
    assert!(first.await.is_ok());
    assert!(second.await.is_ok());
}

#[tokio::test]
async fn pool_is_far_behind_while_each_thread_has_many_before_it() {
    let bench = Bench::new(1, FAR_BEHIND);
    let mut asking: Vec<_> = (0..=FAR_BEHIND).map(|_| Box::pin(bench.sign())).collect();
    let mut behind = Vec::new();
    for sign in &mut asking {
        assert!(poll_once(sign.as_mut()).is_pending());
        behind.push(bench.pool.is_far_behind());
    }
    assert!(!behind[FAR_BEHIND - 2] && behind[FAR_BEHIND], "{behind:?}");
    asking.truncate(1);
    assert!(!bench.pool.is_far_behind(), "nobody waits any more");
    bench.gate.send(Answer::Sign).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_stops_waiting_leaves_a_place_and_what_runs_keeps_its_thread() {
    let mut bench = Bench::new(1, 1);
    let mut running = Box::pin(bench.sign());
    assert!(poll_once(running.as_mut()).is_pending());
    assert_eq!(bench.running().await, 1);
    let mut waiting = Box::pin(bench.sign());
    assert!(poll_once(waiting.as_mut()).is_pending());
    drop(waiting);
    drop(running);
    // The waiter's place is free; the dropped one still signs and still holds the only thread.
    let mut next = Box::pin(bench.sign());
    assert!(poll_once(next.as_mut()).is_pending());
    assert!(matches!(bench.sign().await, Err(PoolError::Busy)));
    assert_eq!(bench.pool.queue.lock().running, 1);
    bench.gate.send(Answer::Sign).unwrap();
    bench.gate.send(Answer::Sign).unwrap();
    assert!(next.await.is_ok());
    assert_eq!(bench.running().await, 1, "never two at once");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn failing_and_panicking_devices_are_told_apart_and_free_their_thread() {
    let bench = Bench::new(1, 0);
    bench.gate.send(Answer::Panic).unwrap();
    assert!(matches!(bench.sign().await, Err(PoolError::Panicked)));
    bench.gate.send(Answer::Fail).unwrap();
    let error = bench.sign().await.unwrap_err();
    assert!(matches!(&error, PoolError::Sign(error) if !error.is_callers_fault()), "{error}");
    assert_eq!(error.to_string(), "the signing device failed: unplugged");
    bench.gate.send(Answer::Sign).unwrap();
    assert!(bench.sign().await.is_ok());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn thread_that_is_over_is_followed_by_another() {
    let bench = Bench::new(2, 0);
    for _ in 0..200 {
        bench.gate.send(Answer::Fail).unwrap();
        assert!(matches!(bench.sign().await, Err(PoolError::Sign(_))));
    }
    assert_eq!(bench.pool.queue.lock().places, 0);
}

#[tokio::test]
async fn thread_that_never_runs_leaves_nobody_waiting() {
    let bench = Bench::new(1, 1);
    // As if the runtime had dropped the thread's work at its end.
    bench.pool.queue.lock().running = 1;
    let mut waiting = pin!(bench.sign());
    assert!(poll_once(waiting.as_mut()).is_pending());
    drop(Thread { queue: Arc::clone(&bench.pool.queue), running: true });
    assert!(matches!(waiting.await, Err(PoolError::Stopped)));
    bench.gate.send(Answer::Sign).unwrap();
    assert!(bench.sign().await.is_ok());
}

#[tokio::test]
async fn pool_of_this_machine_takes_two_full_batches() {
    let pool = SigningPool::for_this_machine();
    let answers = futures::future::join_all((0..512).map(|_| pool.sign(software(1), vec![2; 256]))).await;
    assert!(answers.iter().all(Result::is_ok));
}
