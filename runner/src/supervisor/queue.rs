//! Which lane does which job. A lane that is done with one takes the next by itself, so that a worker's next call does not
//! wait for the caller of the last one to be told.

use std::collections::VecDeque;

use tokio::sync::oneshot;

/// What a queue has to know of a job.
pub(super) trait Queued {
    /// By what its caller finds it again.
    fn ticket(&self) -> u64;
    /// Whether its caller has gone away.
    fn is_abandoned(&self) -> bool;
}

/// The lanes of a pool and the jobs that wait for one. A job waits only while a caller waits for it, so the queue is as long
/// as there are callers; those are limited where they come from.
pub(super) struct Queue<J> {
    lanes_max: usize,
    /// Lanes that may do a job: at work, idle or starting.
    lanes: usize,
    idle: Vec<oneshot::Sender<J>>,
    waiting: VecDeque<J>,
    is_closed: bool,
}

/// What became of a job.
pub(super) enum Placed<J> {
    /// An idle lane has it.
    Given,
    /// It is the first job of a lane that has to be made, and is counted already.
    NewLane(J),
    /// It waits for a lane.
    Waits,
}

/// What a lane does after a job.
pub(super) enum Next<J> {
    Job(J),
    /// Nothing, until this brings a job. It fails when the lane is not needed any more.
    Wait(oneshot::Receiver<J>),
    Leave,
}

/// Ends the wait of a lane that leaves. A job may have come at this very moment: it is the lane's to do or to hand back.
pub(super) fn leave<J>(jobs: &mut oneshot::Receiver<J>) -> Option<J> {
    jobs.close();
    jobs.try_recv().ok()
}

impl<J: Queued> Queue<J> {
    pub(super) fn new(lanes_max: usize) -> Self {
        Self { lanes_max, lanes: 0, idle: Vec::new(), waiting: VecDeque::new(), is_closed: false }
    }

    /// Gives a job to a lane or lets it wait.
    pub(super) fn place(&mut self, mut job: J) -> Placed<J> {
        // The lane that worked last has its memory at hand.
        while let Some(lane) = self.idle.pop() {
            match lane.send(job) {
                Ok(()) => return Placed::Given,
                // It left at this very moment.
                Err(returned) => job = returned,
            }
        }
        if self.lanes < self.lanes_max {
            self.lanes += 1;
            return Placed::NewLane(job);
        }
        self.waiting.push_back(job);
        Placed::Waits
    }

    /// The next thing for a lane that is done.
    pub(super) fn next(&mut self) -> Next<J> {
        if self.is_closed {
            return Next::Leave;
        }
        while let Some(job) = self.waiting.pop_front() {
            if !job.is_abandoned() {
                return Next::Job(job);
            }
        }
        let (sender, receiver) = oneshot::channel();
        self.idle.retain(|lane| !lane.is_closed());
        self.idle.push(sender);
        Next::Wait(receiver)
    }

    /// Takes back a job that still waits; none means that a lane has it.
    pub(super) fn withdraw(&mut self, ticket: u64) -> Option<J> {
        let index = self.waiting.iter().position(|job| job.ticket() == ticket)?;
        self.waiting.remove(index)
    }

    /// A lane does no more jobs. Returned is who waited, and may be placed anew.
    pub(super) fn vacate(&mut self) -> VecDeque<J> {
        self.lanes = self.lanes.saturating_sub(1);
        std::mem::take(&mut self.waiting)
    }

    /// Lets the idle lanes leave.
    pub(super) fn retire_idle(&mut self) {
        self.idle.clear();
    }

    /// Lets every lane leave when it is done.
    pub(super) fn close(&mut self) {
        self.is_closed = true;
        self.retire_idle();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, Eq)]
    struct Number(u64);

    impl Queued for Number {
        fn ticket(&self) -> u64 {
            self.0
        }

        fn is_abandoned(&self) -> bool {
            self.0 >= 100
        }
    }

    fn with_a_busy_lane() -> Queue<Number> {
        let mut queue = Queue::new(1);
        assert!(matches!(queue.place(Number(0)), Placed::NewLane(Number(0))));
        queue
    }

    #[test]
    fn a_busy_lane_takes_the_jobs_that_wait_in_their_order() {
        let mut queue = with_a_busy_lane();
        for number in [1, 100, 2] {
            assert!(matches!(queue.place(Number(number)), Placed::Waits));
        }
        assert!(matches!(queue.next(), Next::Job(Number(1))));
        assert!(matches!(queue.next(), Next::Job(Number(2))), "nobody waits for 100 any more");
        assert!(matches!(queue.next(), Next::Wait(_)));
    }

    #[test]
    fn an_idle_lane_gets_a_job_and_one_that_left_does_not() {
        let mut queue = with_a_busy_lane();
        let Next::Wait(mut receiver) = queue.next() else { panic!("it has nothing to do") };
        assert!(matches!(queue.place(Number(1)), Placed::Given));
        assert_eq!(receiver.try_recv(), Ok(Number(1)));

        let Next::Wait(left) = queue.next() else { panic!("it has nothing to do") };
        drop(left);
        assert!(matches!(queue.place(Number(2)), Placed::Waits), "it counts until it says that it is gone");
        assert_eq!(queue.vacate(), [Number(2)]);
        assert!(matches!(queue.place(Number(2)), Placed::NewLane(Number(2))));
    }

    #[test]
    fn a_job_that_comes_while_its_lane_leaves_is_not_lost() {
        let mut queue = with_a_busy_lane();
        let Next::Wait(mut receiver) = queue.next() else { panic!("it has nothing to do") };
        assert!(matches!(queue.place(Number(1)), Placed::Given));
        assert_eq!(leave(&mut receiver), Some(Number(1)));

        let Next::Wait(mut receiver) = queue.next() else { panic!("it has nothing to do") };
        assert_eq!(leave(&mut receiver), None);
        assert!(matches!(queue.place(Number(2)), Placed::Waits), "nothing is given to a lane that left");
    }

    #[test]
    fn who_gave_up_is_not_served() {
        let mut queue = with_a_busy_lane();
        assert!(matches!(queue.place(Number(1)), Placed::Waits));
        assert_eq!(queue.withdraw(1), Some(Number(1)));
        assert_eq!(queue.withdraw(1), None);
        assert!(matches!(queue.next(), Next::Wait(_)));
    }

    #[test]
    fn a_closed_queue_sends_its_lanes_away() {
        let mut queue = with_a_busy_lane();
        let Next::Wait(mut receiver) = queue.next() else { panic!("it has nothing to do") };
        queue.close();
        assert_eq!(receiver.try_recv(), Err(oneshot::error::TryRecvError::Closed));
        assert!(matches!(queue.next(), Next::Leave));
    }

    /// Against a model: no job is lost or done twice, lanes are no more than may be, and who waits does so only while all are busy.
    #[test]
    fn every_job_is_somewhere_exactly_once() {
        let mut chance = fastrand::Rng::with_seed(13);
        for _ in 0..300 {
            let lanes_max = chance.usize(1..4);
            let mut queue = Queue::new(lanes_max);
            let (mut next, mut busy, mut waiting) = (0, 0, VecDeque::new());
            let mut idle: Vec<oneshot::Receiver<Number>> = Vec::new();
            for _ in 0..200 {
                match chance.u8(0..5) {
                    0 | 1 if next < 99 => {
                        match queue.place(Number(next)) {
                            Placed::Given => {
                                let taken = idle.iter_mut().position(|lane| lane.try_recv() == Ok(Number(next)));
                                idle.swap_remove(taken.expect("an idle lane has it"));
                                busy += 1;
                            }
                            Placed::NewLane(job) => {
                                assert_eq!((job, idle.len()), (Number(next), 0));
                                busy += 1;
                            }
                            Placed::Waits => {
                                assert_eq!((busy, idle.len()), (lanes_max, 0));
                                waiting.push_back(next);
                            }
                        }
                        next += 1;
                    }
                    2 if busy > 0 => match queue.next() {
                        Next::Job(job) => assert_eq!(Some(job.0), waiting.pop_front()),
                        Next::Wait(receiver) => {
                            assert!(waiting.is_empty());
                            busy -= 1;
                            idle.push(receiver);
                        }
                        Next::Leave => panic!("it is open"),
                    },
                    3 if busy > 0 => {
                        busy -= 1;
                        let asked_again: Vec<u64> = queue.vacate().iter().map(|job| job.0).collect();
                        assert_eq!(asked_again, waiting.drain(..).collect::<Vec<_>>());
                    }
                    4 if !waiting.is_empty() => {
                        let gone = waiting.remove(chance.usize(0..waiting.len())).unwrap();
                        assert_eq!(queue.withdraw(gone), Some(Number(gone)));
                    }
                    _ => {}
                }
                assert!(busy + idle.len() <= lanes_max);
            }
        }
    }
}
