//! Which examples a step takes: every epoch is a new order of all of them, and one follows the
//! other without a gap.

use super::draws::{Draws, Purpose};

/// The endless sequence of examples of one run.
#[derive(Debug)]
pub(super) struct Order {
    seed: u64,
    examples: usize,
    /// The epoch drawn last, and its order.
    epoch: Option<(u64, Vec<usize>)>,
}

impl Order {
    /// Over `examples` examples, at least one.
    pub(super) fn new(seed: u64, examples: usize) -> Self {
        Self { seed, examples, epoch: None }
    }

    /// The `count` examples from place `first` of the sequence on.
    pub(super) fn places(&mut self, first: u64, count: usize) -> Vec<usize> {
        (first..first + count as u64).map(|at| self.place(at)).collect()
    }

    fn place(&mut self, at: u64) -> usize {
        let (epoch, within) = (at / self.examples as u64, at % self.examples as u64);
        match &self.epoch {
            Some((drawn, order)) if *drawn == epoch => order[within as usize],
            _ => {
                let draws = Draws::new(self.seed, epoch);
                let order = draws.permutation(Purpose::Order, self.examples);
                let place = order[within as usize];
                self.epoch = Some((epoch, order));
                place
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn epochs_follow_one_another_without_a_gap_each_in_an_order_of_its_own() {
        let all = Order::new(3, 7).places(0, 28);
        for epoch in all.chunks(7) {
            let mut sorted = epoch.to_vec();
            sorted.sort_unstable();
            assert_eq!(sorted, [0, 1, 2, 3, 4, 5, 6]);
        }
        assert_ne!(all[..7], all[7..14]);
        let mut resumed = Order::new(3, 7);
        assert_eq!(resumed.places(5, 9), all[5..14]);
        assert_eq!(resumed.places(14, 3), all[14..17]);
        assert_ne!(Order::new(4, 7).places(0, 7), all[..7]);
    }
}
