//! Gathers pieces of work that arrive at the same time, so that they share a transaction and its flush.
//!
//! For: databases whose commits cost more than a piece of work. Not for: what is done with a batch.
//!
//! Nobody waits for a batch to fill: whoever is free takes what is there. While all are busy, it grows.

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, TryAcquireError, mpsc, oneshot};

/// One caller's work, to be answered together.
#[derive(Debug)]
pub struct Job<W, A> {
    /// What is to be done.
    pub work: W,
    weight: usize,
    answer: oneshot::Sender<A>,
    _places: OwnedSemaphorePermit,
}

/// Why work was not done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GatherError {
    /// As much is waiting as may wait.
    Busy,
    /// Nothing is taken any more.
    Closed,
    /// Whoever had taken it gave no answer.
    Dropped,
}

/// Where work is put in.
#[derive(Debug)]
pub struct Gatherer<W, A> {
    sender: Mutex<Option<mpsc::UnboundedSender<Job<W, A>>>>,
    /// Bounds the queue.
    places: Arc<Semaphore>,
}

/// Where batches are taken out, by several at once.
#[derive(Debug)]
pub struct Batches<W, A> {
    receiver: tokio::sync::Mutex<mpsc::UnboundedReceiver<Job<W, A>>>,
    batch: usize,
}

/// Both ends. Batches weigh about `batch`; at most `places` may wait.
pub fn gatherer<W, A>(batch: usize, places: usize) -> (Gatherer<W, A>, Batches<W, A>) {
    let (sender, receiver) = mpsc::unbounded_channel();
    let gatherer = Gatherer { sender: Mutex::new(Some(sender)), places: Arc::new(Semaphore::new(places)) };
    (gatherer, Batches { receiver: tokio::sync::Mutex::new(receiver), batch })
}

impl<W, A> Gatherer<W, A> {
    /// Waits for the answer; an error at once if too much waits already.
    pub async fn put(&self, work: W, weight: usize) -> Result<A, GatherError> {
        let count = u32::try_from(weight).unwrap_or(u32::MAX);
        let places = match Arc::clone(&self.places).try_acquire_many_owned(count) {
            Ok(places) => places,
            Err(TryAcquireError::NoPermits) => return Err(GatherError::Busy),
            Err(TryAcquireError::Closed) => return Err(GatherError::Closed),
        };
        let (answer, answered) = oneshot::channel();
        let job = Job { work, weight, answer, _places: places };
        match &*self.sender.lock() {
            Some(sender) => sender.send(job).map_err(|_| GatherError::Closed)?,
            None => return Err(GatherError::Closed),
        }
        answered.await.map_err(|_| GatherError::Dropped)
    }

    /// What is in the queue is still carried out.
    pub fn close(&self) {
        self.places.close();
        self.sender.lock().take();
    }
}

impl<W, A> Batches<W, A> {
    /// What is there, up to about the weight of a batch; waits for the first. None once all is done.
    pub async fn next(&self) -> Option<Vec<Job<W, A>>> {
        let mut receiver = self.receiver.lock().await;
        let first = receiver.recv().await?;
        let mut weight = first.weight;
        let mut jobs = vec![first];
        while weight < self.batch
            && let Ok(job) = receiver.try_recv()
        {
            weight += job.weight;
            jobs.push(job);
        }
        Some(jobs)
    }

    /// Adds what has come since, up to about the weight of a batch. For those who have waited for something else
    /// since they took it.
    pub fn add_to(&self, jobs: &mut Vec<Job<W, A>>) {
        // Whoever holds it waits for the first, so there is none.
        let Ok(mut receiver) = self.receiver.try_lock() else { return };
        let mut weight: usize = jobs.iter().map(|job| job.weight).sum();
        while weight < self.batch
            && let Ok(job) = receiver.try_recv()
        {
            weight += job.weight;
            jobs.push(job);
        }
    }
}

impl<W, A> Job<W, A> {
    /// Answers its caller.
    pub fn settle(self, answer: A) {
        // A caller that stopped waiting does not matter.
        let _ = self.answer.send(answer);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_waits_goes_together_up_to_a_batch_and_each_gets_its_own_answer() {
        let (gatherer, batches) = gatherer(4, 100);
        let asking = futures::future::join_all((0..7u32).map(|number| gatherer.put(number, 1)));
        let answering = async {
            let mut sizes = Vec::new();
            while sizes.iter().sum::<usize>() < 7 {
                let jobs = batches.next().await.unwrap();
                sizes.push(jobs.len());
                for job in jobs {
                    let answer = job.work * 10;
                    job.settle(answer);
                }
            }
            sizes
        };
        let (answers, sizes) = tokio::join!(asking, answering);
        assert_eq!(sizes, [4, 3]);
        assert_eq!(answers, (0..7).map(|number| Ok(number * 10)).collect::<Vec<_>>());
    }

    #[tokio::test]
    async fn what_comes_while_a_batch_waits_goes_with_it_up_to_a_batch() {
        let (gatherer, batches) = gatherer::<u32, u32>(4, 100);
        let mut asking: Vec<_> = (0..6).map(|number| Box::pin(gatherer.put(number, 1))).collect();
        assert!(futures::poll!(&mut asking[0]).is_pending());
        let mut jobs = batches.next().await.unwrap();
        for later in &mut asking[1..] {
            assert!(futures::poll!(later).is_pending());
        }
        batches.add_to(&mut jobs);
        assert_eq!(jobs.iter().map(|job| job.work).collect::<Vec<_>>(), [0, 1, 2, 3]);
        let rest = batches.next().await.unwrap();
        assert_eq!(rest.len(), 2);
        // Somebody waits: there is nothing to add.
        let mut waiting = Box::pin(batches.next());
        assert!(futures::poll!(&mut waiting).is_pending());
        batches.add_to(&mut jobs);
        assert_eq!(jobs.len(), 4);
    }

    #[tokio::test]
    async fn full_queue_is_busy_and_a_closed_one_is_still_emptied() {
        let (gatherer, batches) = gatherer::<u32, u32>(10, 3);
        let mut first = Box::pin(gatherer.put(1, 3));
        assert!(futures::poll!(&mut first).is_pending());
        assert_eq!(gatherer.put(2, 1).await, Err(GatherError::Busy));
        gatherer.close();
        assert_eq!(gatherer.put(3, 1).await, Err(GatherError::Closed));
        for job in batches.next().await.unwrap() {
            drop(job);
        }
        assert_eq!(first.await, Err(GatherError::Dropped));
        assert!(batches.next().await.is_none());
    }
}
