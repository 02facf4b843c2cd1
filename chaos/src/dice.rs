//! Random numbers that are the same for the same seed for ever.
//!
//! A seed in the report of a bug is to give the same schedule years later, whatever became of the libraries meanwhile,
//! and libraries do change what they draw. So this is SplitMix64 (Steele, Lea, Flood: Fast Splittable Pseudorandom Number
//! Generators, 2014), and everything drawn is made from it here.

/// A source of random numbers. Not for secrets.
#[derive(Clone, Debug)]
pub struct Dice(u64);

impl Dice {
    /// One that this seed decides.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Another one, which draws independently of this, for the part of the work that has this name: what one part draws
    /// does not depend on how much another one drew.
    pub fn named(&self, name: &str) -> Self {
        let mut other = Self(self.0);
        for byte in name.bytes() {
            other.0 = other.draw() ^ u64::from(byte);
        }
        Self(other.draw())
    }

    /// Any number.
    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below this one.
    ///
    /// # Panics
    /// That is 0.
    pub fn below(&mut self, end: u64) -> u64 {
        assert!(end > 0, "there is no number below 0");
        // Its bias is below one in 2^64 / end.
        let wide = u128::from(self.draw()) * u128::from(end);
        u64::try_from(wide >> 64).unwrap_or(0)
    }

    /// A number from one to another, both included.
    ///
    /// # Panics
    /// The first is the greater one.
    pub fn from_to(&mut self, from: u64, to: u64) -> u64 {
        assert!(from <= to, "{from} is greater than {to}");
        from + self.below((to - from).saturating_add(1))
    }

    /// Whether something happens that happens this often in a hundred times.
    pub fn percent(&mut self, chance: u64) -> bool {
        self.below(100) < chance
    }

    /// One of these; `None` of nothing.
    pub fn pick<'a, T>(&mut self, of: &'a [T]) -> Option<&'a T> {
        if of.is_empty() {
            return None;
        }
        let index = self.below(of.len() as u64);
        usize::try_from(index).ok().and_then(|index| of.get(index))
    }

    /// Puts these into some order.
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            let other = usize::try_from(self.below(last as u64 + 1)).unwrap_or(last);
            items.swap(last, other);
        }
    }

    /// A time around this one, as often shorter as longer and sometimes much longer, as waiting times are.
    pub fn around(&mut self, typical: u64) -> u64 {
        let base = self.from_to(typical / 2, typical + typical / 2);
        if self.percent(5) { base.saturating_mul(self.from_to(2, 10)) } else { base }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first of them as published with the algorithm's reference implementation, for the seed 1234567.
    #[test]
    fn draws_what_it_always_drew() {
        let mut dice = Dice::new(1_234_567);
        let drawn = [(); 3].map(|()| dice.draw());
        assert_eq!(drawn, [6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423]);
    }

    #[test]
    fn keeps_to_its_bounds_and_reaches_them() {
        let mut dice = Dice::new(3);
        let drawn: std::collections::BTreeSet<u64> = (0..1000).map(|_| dice.from_to(5, 9)).collect();
        assert_eq!(drawn.into_iter().collect::<Vec<_>>(), [5, 6, 7, 8, 9]);
        let mut items = [1, 2, 3, 4, 5];
        dice.shuffle(&mut items);
        items.sort_unstable();
        assert_eq!(items, [1, 2, 3, 4, 5]);
        assert_eq!(dice.pick::<u8>(&[]), None);
    }

    #[test]
    fn named_ones_draw_apart() {
        let dice = Dice::new(3);
        assert_eq!(dice.named("a").draw(), dice.named("a").draw());
        assert_ne!(dice.named("a").draw(), dice.named("b").draw());
        assert_ne!(dice.named("ab").draw(), dice.named("ba").draw());
    }
}
