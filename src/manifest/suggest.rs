//! "Did you mean": the nearest of the known names.

/// The known name that was most likely meant, if one is near: a third of the letters may differ, and one always.
pub(super) fn nearest<'a>(typed: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // Repositories are hostile input and the distance costs the product of the lengths.
    if typed.len() > 64 {
        return None;
    }
    let allowed = (typed.chars().count() / 3).max(1);
    known
        .into_iter()
        .map(|name| (distance(typed, name), name))
        .filter(|&(far, name)| far <= allowed && far < name.len())
        .min_by_key(|&(far, _)| far)
        .map(|(_, name)| name)
}

/// How many letters must be added, dropped, replaced or swapped with their neighbour.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut before = Vec::new();
    let mut above: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let replaced = above[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut best = replaced.min(above[j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(before[j - 2] + 1);
            }
            row.push(best);
        }
        before = std::mem::replace(&mut above, row);
    }
    above[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_is_found_and_the_far_one_is_not() {
        let known = ["domains", "rev", "ports", "user"];
        assert_eq!(nearest("domain", known), Some("domains"));
        assert_eq!(nearest("prots", known), Some("ports"));
        assert_eq!(nearest("Rev", known), Some("rev"));
        assert_eq!(nearest("usr", known), Some("user"));
        assert_eq!(nearest("colour", known), None);
        assert_eq!(nearest("x", known), None);
        assert_eq!(nearest("", known), None);
    }
}
