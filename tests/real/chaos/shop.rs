//! The load: healthy orders by the hundred in both databases, wrong ones between them, and a book of what was done.
//!
//! Must not know: the product, the faults.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::ops::Range;
use std::time::{Duration, Instant};

use super::wrongs::{DOUBT, Fate, GRACE, STUCK_GRACE, Sql, Wrong};
use crate::real::mariadb::MariaSession;
use crate::real::postgres::PgSession;
use crate::real::{Result, Stack};
use crate::support::dice::Dice;

/// Orders of the same life, written together. Each costs four changes, and two more where it is refunded.
#[derive(Clone, Copy, Debug)]
struct Batch {
    first: i64,
    /// The first after it.
    end: i64,
    /// True where the orders are paid before their payments are captured: a disagreement, for a moment.
    is_eager: bool,
}

/// One in so many orders of a batch is refunded, some time later.
const REFUNDED: i64 = 12;

const CHANGES_AN_ORDER: f64 = 4.0 + 2.0 / REFUNDED as f64;

#[derive(Clone, Copy, Debug)]
enum Step {
    /// The steps of a batch's life, counted, and when the first and the last one were begun.
    Healthy { batch: Batch, stage: usize, placed: Instant, before: Instant },
    /// An act upon a wrong order, and when the one before it was begun.
    Wrong { index: usize, act: usize, before: Instant },
}

/// What was done, for the oracle.
#[derive(Default)]
pub struct Book {
    pub changes: u64,
    pub wrongs: Vec<Wrong>,
    /// Orders whose acts came too slowly or too quickly for the answer to be certain.
    pub doubtful: Vec<Range<i64>>,
}

/// Wrong orders are numbered from here.
const WRONG: i64 = 1_000_000_000;

pub struct Shop {
    shop: PgSession,
    pay: MariaSession,
    dice: Dice,
    steps: BinaryHeap<Reverse<(Instant, u64, usize)>>,
    /// Steps by number; done ones stay.
    all: Vec<Step>,
    next_order: i64,
    pub book: Book,
}

impl Shop {
    pub fn open(stack: &Stack, seed: u64) -> Result<Shop> {
        let mut pay = stack.maria_session()?;
        // Sequences are tables of the database that is used.
        pay.query("use pay")?;
        Ok(Shop {
            shop: stack.pg_session()?,
            pay,
            dice: Dice::new(seed),
            steps: BinaryHeap::new(),
            all: Vec::new(),
            next_order: 1,
            book: Book::default(),
        })
    }

    /// Customers come: so many orders, and so many that go wrong.
    pub fn come(&mut self, changes: f64, wrongs: usize) {
        let now = Instant::now();
        let orders = (changes / CHANGES_AN_ORDER).ceil() as i64;
        let batch = Batch { first: self.next_order, end: self.next_order + orders, is_eager: self.dice.once_in(2) };
        self.next_order = batch.end;
        if orders > 0 {
            self.plan(now, Step::Healthy { batch, stage: 0, placed: now, before: now });
        }
        for _ in 0..wrongs {
            let index = self.book.wrongs.len();
            self.book.wrongs.push(Wrong::roll(&mut self.dice, WRONG + index as i64));
            self.plan(now, Step::Wrong { index, act: 0, before: now });
        }
    }

    fn plan(&mut self, due: Instant, step: Step) {
        let number = self.all.len();
        self.all.push(step);
        self.steps.push(Reverse((due, number as u64, number)));
    }

    /// True when all lives are over.
    pub fn is_quiet(&self) -> bool {
        self.steps.is_empty()
    }

    /// Takes all steps that are due: one transaction in each database.
    pub fn work(&mut self) -> Result {
        let begun = Instant::now();
        let mut due = Vec::new();
        while self.steps.peek().is_some_and(|next| next.0.0 <= begun) {
            let Some(Reverse((_, _, number))) = self.steps.pop() else { break };
            due.push(self.all[number]);
        }
        let mut sql = Sql::default();
        for step in &due {
            sql.and(&self.sql_of(*step));
        }
        if !sql.shop.is_empty() {
            self.shop.query(&format!("begin; {} commit", sql.shop))?;
        }
        if !sql.pay.is_empty() {
            self.pay.query(&format!("begin; {} commit", sql.pay))?;
        }
        let done = Instant::now();
        for step in due {
            self.follow(step, begun, done);
        }
        Ok(())
    }

    fn sql_of(&self, step: Step) -> Sql {
        match step {
            Step::Healthy { batch, stage, .. } => batch.sql(stage),
            Step::Wrong { index, act, .. } => {
                let wrong = self.book.wrongs[index];
                wrong.sql(wrong.fate.acts()[act])
            }
        }
    }

    /// Counts what a step did, looks whether it was in time, and plans the next one.
    fn follow(&mut self, step: Step, begun: Instant, done: Instant) {
        match step {
            Step::Healthy { batch, stage, placed, before } => {
                self.book.changes += batch.changes(stage);
                let is_late = done - before > GRACE - DOUBT || (stage < 4 && done - placed > STUCK_GRACE - DOUBT);
                if is_late && stage > 0 && stage != 4 {
                    self.book.doubtful.push(batch.first..batch.end);
                }
                if let Some(pause) = batch.pause_after(stage, &mut self.dice) {
                    self.plan(done + pause, Step::Healthy { batch, stage: stage + 1, placed, before: begun });
                }
            }
            Step::Wrong { index, act, before } => {
                self.book.changes += 1;
                let wrong = self.book.wrongs[index];
                let is_late = wrong.fate == Fate::Brief && act == 1 && done - before > wrong.kind.grace() - DOUBT;
                if is_late || done - begun > GRACE - DOUBT {
                    self.book.doubtful.push(wrong.order..wrong.order + 1);
                }
                if let Some(next) = wrong.fate.acts().get(act + 1) {
                    let due = done + wrong.pause(*next) + spread(&mut self.dice, 0, 2000);
                    self.plan(due, Step::Wrong { index, act: act + 1, before: begun });
                }
            }
        }
    }
}

impl Batch {
    /// Placed, payment asked for, then captured and paid in either order; some are refunded in the end.
    fn sql(self, stage: usize) -> Sql {
        let Batch { first, end, is_eager } = self;
        let last = end - 1;
        let pays = format!("id between {first}0 and {last}9");
        let set_paid =
            format!("update shop.orders set payment_status = 'PAID' where order_id between {first} and {last};");
        let set_captured = format!("update pay.payments set status = 'CAPTURED' where {pays};");
        let shop = |shop| Sql { shop, ..Sql::default() };
        let pay = |pay| Sql { pay, ..Sql::default() };
        match (stage, is_eager) {
            (0, _) => shop(format!(
                "insert into shop.orders (order_id, customer_id, payment_status, total)
                 select n, n % 5000, 'PENDING', n % 97 + 3 from generate_series({first}, {last}) n;"
            )),
            (1, _) => pay(format!(
                "insert into pay.payments (id, order_id, kind, status, amount)
                 select seq * 10, seq, 'CAPTURE', 'PENDING', seq % 97 + 3 from seq_{first}_to_{last};"
            )),
            (2, true) | (3, false) => shop(set_paid),
            (2, false) | (3, true) => pay(set_captured),
            (4, _) => shop(format!(
                "update shop.orders set payment_status = 'REFUNDED'
                 where order_id between {first} and {last} and order_id % {REFUNDED} = 0;"
            )),
            _ => pay(format!(
                "insert into pay.payments (id, order_id, kind, status, amount)
                 select id + 5, order_id, 'REFUND', 'REFUNDED', amount from pay.payments
                 where {pays} and kind = 'CAPTURE' and order_id % {REFUNDED} = 0;"
            )),
        }
    }

    fn changes(self, stage: usize) -> u64 {
        let refunded = (self.first..self.end).filter(|order| order % REFUNDED == 0).count() as u64;
        if stage < 4 { (self.end - self.first) as u64 } else { refunded }
    }

    fn pause_after(self, stage: usize, dice: &mut Dice) -> Option<Duration> {
        match stage {
            0 | 1 => Some(Duration::from_millis(50)),
            2 => Some(spread(dice, 100, 1500)),
            // Most refunds find their order no longer in a cache.
            3 => Some(spread(dice, 2_000, 20_000)),
            4 => Some(spread(dice, 100, 1500)),
            _ => None,
        }
    }
}

fn spread(dice: &mut Dice, low_ms: i64, high_ms: i64) -> Duration {
    Duration::from_millis(dice.between(low_ms, high_ms).unsigned_abs())
}
