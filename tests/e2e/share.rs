//! What a sweep takes of all points.

/// Every so many-th of a list, from one of them on.
#[derive(Debug, Clone, Copy)]
pub struct Share {
    pub from: usize,
    pub step: usize,
}

impl Share {
    /// What `PORTREEVE_CRASH` says; all, if it says nothing.
    pub fn wanted() -> Self {
        let text = std::env::var("PORTREEVE_CRASH").unwrap_or_else(|_| "1".to_owned());
        let (from, step) = text.split_once('/').unwrap_or(("1", &text));
        let number = |text: &str| text.parse::<usize>().ok().filter(|number| *number > 0);
        let share = number(from).zip(number(step)).map(|(from, step)| Self { from: from - 1, step });
        share.unwrap_or_else(|| panic!("PORTREEVE_CRASH={text}: neither a number nor two, as 3/20"))
    }

    /// With the number that finds one again.
    pub fn of<T>(self, items: impl IntoIterator<Item = T>) -> impl Iterator<Item = (usize, T)> {
        (1..).zip(items).skip(self.from).step_by(self.step)
    }
}
