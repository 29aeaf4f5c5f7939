//! Connected components of a graph of dense numbers: union-find that all threads work on at once.
//!
//! A node's parent never has a greater number than the node, and roots are joined by hanging the greater under the lesser. So the
//! root of a component is its least node, whichever thread joined what in which order.

use std::hint::black_box;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use rayon::prelude::*;

/// Links that are looked at together: their nodes are fetched from memory side by side instead of one after the other.
const BLOCK: usize = 64;
/// Links that one thread takes at a time.
const CHUNK: usize = 1 << 16;

/// Trees over the nodes `0..len`.
#[derive(Debug)]
pub struct Forest {
    parents: Vec<AtomicU32>,
}

impl Forest {
    /// Every node a tree of its own.
    #[must_use]
    pub fn new(len: usize) -> Self {
        Forest {
            parents: (0..len as u32).into_par_iter().map(AtomicU32::new).collect(),
        }
    }

    #[inline]
    fn parent(&self, node: u32) -> u32 {
        self.parents[node as usize].load(Relaxed)
    }

    /// The root of a node; the path to it is halved on the way.
    #[inline]
    pub fn find(&self, mut node: u32) -> u32 {
        let mut parent = self.parent(node);
        while parent != node {
            let above = self.parent(parent);
            if above == parent {
                return parent;
            }
            // Any ancestor will do, so it does not matter whether another thread has found a nearer one to the root.
            self.parents[node as usize].store(above, Relaxed);
            node = above;
            parent = self.parent(node);
        }
        node
    }

    /// Joins the trees of two nodes.
    #[inline]
    pub fn join(&self, left: u32, right: u32) {
        let (mut left, mut right) = (left, right);
        loop {
            (left, right) = (self.find(left), self.find(right));
            if left == right {
                return;
            }
            let (low, high) = (left.min(right), left.max(right));
            // Fails if another thread has hung `high` under something meanwhile.
            if self.parents[high as usize].compare_exchange(high, low, Relaxed, Relaxed).is_ok() {
                return;
            }
        }
    }

    /// Joins the two nodes of every link.
    pub fn join_all(&self, links: impl Iterator<Item = (u32, u32)>) {
        let mut block = [(0u32, 0u32); BLOCK];
        let mut filled = 0;
        for link in links {
            block[filled] = link;
            filled += 1;
            if filled == BLOCK {
                self.join_block(&block);
                filled = 0;
            }
        }
        self.join_block(&block[..filled]);
    }

    /// The loads of each step depend on none of the others of the same step, so the processor waits for many at once.
    fn join_block(&self, block: &[(u32, u32)]) {
        let mut parents = [(0u32, 0u32); BLOCK];
        for (parent, &(left, right)) in parents.iter_mut().zip(block) {
            *parent = (self.parent(left), self.parent(right));
        }
        let mut above = 0;
        for (left, right) in &parents[..block.len()] {
            if left != right {
                above ^= self.parent(*left) ^ self.parent(*right);
            }
        }
        black_box(above);
        for (&(left, right), (above_left, above_right)) in block.iter().zip(parents) {
            if above_left != above_right {
                self.join(left, right);
            }
        }
    }

    /// The root of every node.
    #[must_use]
    pub fn into_roots(self) -> Vec<u32> {
        (0..self.parents.len() as u32).into_par_iter().with_min_len(CHUNK).for_each(|node| {
            let root = self.find(node);
            self.parents[node as usize].store(root, Relaxed);
        });
        self.parents.into_iter().map(AtomicU32::into_inner).collect()
    }
}

/// Links between nodes: link `i` of a piece joins `left[i]` and `right[i]`.
pub type Piece<'a> = (&'a [u32], &'a [u32]);

/// The greatest node that links name.
#[must_use]
pub fn greatest(links: &[Piece<'_>]) -> Option<u32> {
    let ends = links.par_iter().flat_map_iter(|(left, right)| [*left, *right]);
    ends.flat_map(|ends| ends.par_chunks(CHUNK))
        .filter_map(|ends| ends.iter().max().copied())
        .max()
}

/// The least node of the component of each of `nodes` nodes. Works on the threads of the current pool and gives up (with an unfinished
/// answer) once `stop` says so.
///
/// ```
/// use aipl_core::identity::components;
/// assert_eq!(components(5, &[(&[3, 1], &[4, 3])], &|| false), [0, 1, 2, 1, 1]);
/// ```
///
/// # Panics
/// A link names a node that is not below `nodes`.
#[must_use]
pub fn components(nodes: usize, links: &[Piece<'_>], stop: &(dyn Fn() -> bool + Sync)) -> Vec<u32> {
    let forest = Forest::new(nodes);
    let chunks = links
        .par_iter()
        .flat_map(|(left, right)| left.par_chunks(CHUNK).zip(right.par_chunks(CHUNK)));
    chunks.for_each(|(left, right)| {
        if !stop() {
            forest.join_all(left.iter().copied().zip(right.iter().copied()));
        }
    });
    forest.into_roots()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Components by walking breadth first.
    fn walked(nodes: usize, links: &[(u32, u32)]) -> Vec<u32> {
        let mut neighbors = vec![Vec::new(); nodes];
        for &(left, right) in links {
            neighbors[left as usize].push(right);
            neighbors[right as usize].push(left);
        }
        let mut roots = vec![u32::MAX; nodes];
        for start in 0..nodes as u32 {
            let mut queue = std::collections::VecDeque::from([start]);
            while let Some(node) = queue.pop_front() {
                if roots[node as usize] == u32::MAX {
                    roots[node as usize] = start;
                    queue.extend(&neighbors[node as usize]);
                }
            }
        }
        roots
    }

    fn joined(nodes: usize, links: &[(u32, u32)]) -> Vec<u32> {
        let (left, right): (Vec<u32>, Vec<u32>) = links.iter().copied().unzip();
        components(nodes, &[(&left, &right)], &|| false)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]
        #[test]
        fn components_equal_a_walk(nodes in 1usize..300, links in prop::collection::vec((0u32..300, 0u32..300), 0..400)) {
            let links: Vec<_> = links.into_iter().map(|(a, b)| (a % nodes as u32, b % nodes as u32)).collect();
            prop_assert_eq!(joined(nodes, &links), walked(nodes, &links));
        }
    }

    #[test]
    fn large_random_graphs_equal_a_walk_on_any_number_of_threads() {
        let nodes = 100_000u64;
        for (seed, count) in [(1u64, 40_000u64), (2, 60_000), (3, 300_000)] {
            let node = |n: u64| (crate::base::id::int_key((n * 1_000_003 + seed) as i64) % nodes) as u32;
            let links: Vec<_> = (0..count).map(|n| (node(2 * n), node(2 * n + 1))).collect();
            let expected = walked(nodes as usize, &links);
            for threads in [1, 2, 8] {
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads");
                assert!(pool.install(|| joined(nodes as usize, &links)) == expected);
            }
        }
    }

    #[test]
    fn chains_and_stars_are_one_component() {
        let nodes = 100_000u32;
        let chain: Vec<_> = (1..nodes).map(|n| (n, n - 1)).rev().collect();
        let star: Vec<_> = (0..nodes - 1).map(|n| (nodes - 1, n)).collect();
        for links in [chain, star] {
            assert!(joined(nodes as usize, &links).iter().all(|&root| root == 0));
        }
    }
}
