//! Two simulated databases: shops take orders, a payment service captures money, and now and then something goes wrong.
//!
//! Must not know: Kafka, Evenkeel. What was injected is written down beside it, so that the demo can be judged.

use std::collections::{BTreeMap, BinaryHeap};

/// Microseconds since the epoch.
pub type Micros = i64;

/// A row of `shop.orders`.
#[derive(Clone, Debug)]
pub struct Order {
    pub order_id: i64,
    pub customer_id: i64,
    pub payment_status: &'static str,
    pub total_cents: i64,
    pub updated_at: Micros,
}

/// A row of `pay.payments`.
#[derive(Clone, Debug)]
pub struct Payment {
    pub id: i64,
    pub order_id: i64,
    pub kind: &'static str,
    pub status: &'static str,
    pub amount_cents: i64,
    pub captured_at: Option<Micros>,
    pub updated_at: Micros,
}

/// A committed change, as the database's log has it.
#[derive(Clone, Debug)]
pub enum Logged {
    Order { before: Option<Order>, after: Order },
    Payment { before: Option<Payment>, after: Payment },
}

/// What went wrong with an order, on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// The order says PAID, the webhook that recorded the payment was lost.
    LostPayment,
    /// Less was captured than the order costs.
    ShortCapture,
    /// A retry captured twice.
    DoubleCapture,
    /// A payment for an order that does not exist.
    OrphanPayment,
    /// The order was cancelled, the refund never arrived.
    LostRefund,
    /// Nothing ever happened to the order again.
    Stuck,
}

impl Fault {
    pub const ALL: [Fault; 6] = [
        Fault::LostPayment,
        Fault::ShortCapture,
        Fault::DoubleCapture,
        Fault::OrphanPayment,
        Fault::LostRefund,
        Fault::Stuck,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Fault::LostPayment => "lost payment",
            Fault::ShortCapture => "short capture",
            Fault::DoubleCapture => "double capture",
            Fault::OrphanPayment => "orphan payment",
            Fault::LostRefund => "lost refund",
            Fault::Stuck => "stuck pending",
        }
    }
}

/// A fault that was injected.
#[derive(Clone, Debug)]
pub struct Injected {
    pub fault: Fault,
    pub order_id: i64,
    pub at: Micros,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    Place(i64),
    Attempt { order: i64, cents: i64, captured: bool },
    SetStatus { order: i64, status: &'static str },
    SettleAttempt { payment: i64, captured: bool },
    Refund { order: i64, cents: i64 },
}

/// A small generator of numbers that look random (SplitMix64); the same seed gives the same demo.
pub struct Dice(u64);

impl Dice {
    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound
    }

    fn between_ms(&mut self, low: u64, high: u64) -> Micros {
        (low + self.below(high - low)) as Micros * 1000
    }
}

/// Both databases and what is still to happen.
pub struct World {
    dice: Dice,
    orders: BTreeMap<i64, Order>,
    payments: BTreeMap<i64, Payment>,
    schedule: BinaryHeap<std::cmp::Reverse<(Micros, u64, Step)>>,
    steps: u64,
    next_order: i64,
    next_payment: i64,
    pub injected: Vec<Injected>,
}

/// One order in so many goes wrong.
const FAULT_EVERY: u64 = 60;

/// The longest time in which a disagreement of a healthy order heals, microseconds.
pub const HEALS_WITHIN: Micros = 1_500_000;

impl World {
    pub fn new(seed: u64) -> World {
        World {
            dice: Dice(seed),
            orders: BTreeMap::new(),
            payments: BTreeMap::new(),
            schedule: BinaryHeap::new(),
            steps: 0,
            next_order: 1001,
            next_payment: 1,
            injected: Vec::new(),
        }
    }

    fn plan(&mut self, at: Micros, step: Step) {
        self.steps += 1;
        self.schedule.push(std::cmp::Reverse((at, self.steps, step)));
    }

    /// A customer comes; `faults` is false when nothing may go wrong any more.
    pub fn arrive(&mut self, now: Micros, faults: bool) {
        let order = self.next_order;
        self.next_order += 1;
        let cents = 500 + self.dice.below(20_000) as i64;
        let wrong = faults && self.dice.below(FAULT_EVERY) == 0;
        // In turn, so that even a short run has one of every kind.
        let fault = wrong.then(|| Fault::ALL[self.injected.len() % Fault::ALL.len()]);
        if let Some(fault) = fault {
            self.injected.push(Injected { fault, order_id: order, at: now });
        }
        if fault == Some(Fault::OrphanPayment) {
            self.plan(now, Step::Attempt { order, cents, captured: true });
            return;
        }
        let customer_id = 1 + self.dice.below(5000) as i64;
        let new =
            Order { order_id: order, customer_id, payment_status: "PENDING", total_cents: cents, updated_at: now };
        self.orders.insert(order, new);
        self.plan(now, Step::Place(order));
        if fault == Some(Fault::Stuck) {
            return;
        }
        let mut at = now + self.dice.between_ms(300, 1500);
        if self.dice.below(5) == 0 {
            self.plan(at, Step::Attempt { order, cents, captured: false });
            at += self.dice.between_ms(500, 1500);
        }
        self.pay(order, cents, at, fault);
    }

    /// The captures of an order and what becomes of it.
    fn pay(&mut self, order: i64, cents: i64, at: Micros, fault: Option<Fault>) {
        // The order service and the payment service each commit on their own: either may be first.
        let lead = self.dice.between_ms(0, 1000);
        let (paid_at, captured_at) = if self.dice.below(2) == 0 { (at, at + lead) } else { (at + lead, at) };
        self.plan(paid_at, Step::SetStatus { order, status: "PAID" });
        if fault == Some(Fault::LostPayment) {
            return;
        }
        let captured = if fault == Some(Fault::ShortCapture) { cents - 1 - cents / 10 } else { cents };
        let parts = if captured > 2000 && self.dice.below(4) == 0 { 2 } else { 1 };
        // Parts of different size, so that two of them are never mistaken for a repetition.
        let first = if parts == 2 { captured / 3 } else { captured };
        self.plan(captured_at, Step::Attempt { order, cents: first, captured: true });
        if parts == 2 {
            let second = captured - first;
            self.plan(captured_at + 100_000, Step::Attempt { order, cents: second, captured: true });
        }
        let late = captured_at.max(paid_at) + 200_000;
        match fault {
            Some(Fault::DoubleCapture) => self.plan(late, Step::Attempt { order, cents: first, captured: true }),
            Some(Fault::LostRefund) => self.plan(late, Step::SetStatus { order, status: "CANCELLED" }),
            None if self.dice.below(12) == 0 => {
                let refund_at = late + self.dice.between_ms(1000, 4000);
                self.plan(refund_at, Step::SetStatus { order, status: "REFUNDED" });
                self.plan(refund_at + 300_000, Step::Refund { order, cents });
            }
            _ => {}
        }
    }

    /// Lets a fault be mended: what was lost arrives after all.
    pub fn mend(&mut self, injected: &Injected, now: Micros) {
        let order = injected.order_id;
        let Some(total) = self.orders.get(&order).map(|order| order.total_cents) else { return };
        match injected.fault {
            Fault::LostPayment => self.plan(now, Step::Attempt { order, cents: total, captured: true }),
            Fault::LostRefund => self.plan(now, Step::Refund { order, cents: total }),
            Fault::Stuck => {
                self.plan(now, Step::SetStatus { order, status: "CANCELLED" });
            }
            Fault::ShortCapture | Fault::DoubleCapture | Fault::OrphanPayment => {}
        }
    }

    /// True when nothing is left to happen.
    pub fn is_quiet(&self) -> bool {
        self.schedule.is_empty()
    }

    /// Everything that is committed up to `now`, with its time.
    pub fn advance(&mut self, now: Micros) -> Vec<(Micros, Logged)> {
        let mut logged = Vec::new();
        while self.schedule.peek().is_some_and(|next| next.0.0 <= now) {
            let Some(std::cmp::Reverse((at, _, step))) = self.schedule.pop() else { break };
            if let Some(change) = self.take(at, step) {
                logged.push((at, change));
            }
        }
        logged
    }

    fn take(&mut self, at: Micros, step: Step) -> Option<Logged> {
        match step {
            Step::Place(order) => {
                let after = self.orders.get(&order)?.clone();
                Some(Logged::Order { before: None, after })
            }
            Step::SetStatus { order, status } => {
                let row = self.orders.get_mut(&order)?;
                let before = row.clone();
                row.payment_status = status;
                row.updated_at = at;
                Some(Logged::Order { before: Some(before), after: row.clone() })
            }
            Step::Attempt { order, cents, captured } => {
                let after = self.new_payment(at, order, "CAPTURE", "PENDING", cents);
                let settles = at + 60_000;
                self.plan(settles, Step::SettleAttempt { payment: after.id, captured });
                Some(Logged::Payment { before: None, after })
            }
            Step::SettleAttempt { payment, captured } => {
                let row = self.payments.get_mut(&payment)?;
                let before = row.clone();
                row.status = if captured { "CAPTURED" } else { "FAILED" };
                row.captured_at = captured.then_some(at);
                row.updated_at = at;
                Some(Logged::Payment { before: Some(before), after: row.clone() })
            }
            Step::Refund { order, cents } => {
                let after = self.new_payment(at, order, "REFUND", "REFUNDED", cents);
                Some(Logged::Payment { before: None, after })
            }
        }
    }

    fn new_payment(
        &mut self,
        at: Micros,
        order: i64,
        kind: &'static str,
        status: &'static str,
        cents: i64,
    ) -> Payment {
        let id = self.next_payment;
        self.next_payment += 1;
        let payment =
            Payment { id, order_id: order, kind, status, amount_cents: cents, captured_at: None, updated_at: at };
        self.payments.insert(id, payment.clone());
        payment
    }
}
