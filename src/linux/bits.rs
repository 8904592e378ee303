//! Sets of CPUs and of memory nodes, as system calls take them, and as the kernel writes them: `0-3,7`.

use std::str::FromStr;

const WORD: usize = libc::c_ulong::BITS as usize;
/// As many CPUs as Linux can be built for (`CONFIG_NR_CPUS`); nodes are fewer.
const MOST: usize = 8192;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bits(Vec<libc::c_ulong>);

impl Bits {
    pub fn none() -> Bits {
        Bits(vec![0; MOST / WORD])
    }

    pub fn all() -> Bits {
        Bits(vec![libc::c_ulong::MAX; MOST / WORD])
    }

    /// # Panics
    /// On a number beyond the bound, which text is checked for.
    pub fn of(numbers: impl IntoIterator<Item = usize>) -> Bits {
        let mut bits = Bits::none();
        numbers.into_iter().for_each(|number| bits.0[number / WORD] |= 1 << (number % WORD));
        bits
    }

    pub fn is_empty(&self) -> bool {
        self.first().is_none()
    }

    pub fn first(&self) -> Option<usize> {
        (0..MOST).find(|number| self.has(*number))
    }

    pub fn last(&self) -> Option<usize> {
        (0..MOST).rev().find(|number| self.has(*number))
    }

    pub fn is_subset_of(&self, other: &Bits) -> bool {
        self.0.iter().zip(&other.0).all(|(ours, theirs)| ours & !theirs == 0)
    }

    fn has(&self, number: usize) -> bool {
        self.0[number / WORD] & 1 << (number % WORD) != 0
    }

    pub(super) fn words(&self) -> &[libc::c_ulong] {
        &self.0
    }

    pub(super) fn words_mut(&mut self) -> &mut [libc::c_ulong] {
        &mut self.0
    }
}

impl FromStr for Bits {
    type Err = String;

    /// Numbers and ranges with commas between. The empty text is the empty set.
    fn from_str(text: &str) -> Result<Bits, String> {
        let number = |word: &str| {
            let digits = !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_digit());
            let known = word.parse::<usize>().ok().filter(|number| digits && *number < MOST);
            known.ok_or_else(|| format!("{text:?} is not a list of numbers below {MOST} such as \"0-3,7\""))
        };
        let mut bits = Bits::none();
        for part in text.split(',').filter(|_| !text.is_empty()) {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let (first, last) = (number(first.trim())?, number(last.trim())?);
            if first > last {
                return Err(format!("{text:?}: the range {part} runs backwards"));
            }
            (first..=last).for_each(|number| bits.0[number / WORD] |= 1 << (number % WORD));
        }
        Ok(bits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_read_as_the_kernel_writes_it() {
        assert_eq!("0-3,7".parse(), Ok(Bits::of([0, 1, 2, 3, 7])));
        assert_eq!("8191".parse(), Ok(Bits::of([8191])));
        assert_eq!("64, 2-2".parse(), Ok(Bits::of([2, 64])));
        assert_eq!("".parse(), Ok(Bits::none()));
        let bits: Bits = "5,70-71".parse().unwrap();
        assert_eq!((bits.first(), bits.last(), bits.is_empty()), (Some(5), Some(71), false));
    }

    #[test]
    fn what_is_no_list_is_refused() {
        for text in
            ["a", "1,", ",1", "1-", "-1", "+1", "0x1", "8192", "99999999999999999999", "1--2", "1-2-3", "٣", " "]
        {
            assert!(text.parse::<Bits>().is_err(), "{text:?}");
        }
        assert!("3-1".parse::<Bits>().unwrap_err().contains("runs backwards"));
    }
}
