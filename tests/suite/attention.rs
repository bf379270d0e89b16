//! The promises of the attention door, on random tiny models.

use std::ops::Range;

use candle_core::{DType, Device, IndexOp, Tensor};
use modalens::model::Result;
use modalens::model::nn::attention::attend;
use modalens::model::nn::edit::{Edit, HeadSet, TokenSet};
use modalens::model::nn::mask::{Mask, Tree};
use modalens::model::nn::pass::{Mode, Pass};
use modalens::model::nn::tap::{Observed, Rows, Site, Tap, Tower};
use modalens::model::qwen2_5_omni::thinker::Thinker;
use proptest::prelude::*;

use crate::tiny::{Shape, numbers, shapes, worst};

/// Keeps every row of the language model as `[layer][head][query]` → probabilities over all keys up to the block.
#[derive(Default)]
struct Everything {
    rows: Vec<(Site, Range<usize>, Range<usize>, Tensor)>,
}

impl Tap for Everything {
    fn rows(&self, _: Site, queries: Range<usize>) -> Rows {
        Rows::Range(queries)
    }

    fn record(&mut self, site: Site, o: &Observed<'_>) -> Result<()> {
        self.rows.push((site, o.queries.clone(), o.keys.clone(), o.probs.copy()?));
        Ok(())
    }
}

fn words(seed: u64, n: usize) -> (Vec<u32>, Vec<u32>) {
    let ids = (0..n).map(|i| (seed.wrapping_mul(31).wrapping_add(i as u64 * 7919) % 89) as u32).collect();
    (ids, (0..n as u32).collect())
}

fn logits(model: &Thinker, ids: &[u32], positions: &[u32], pass: &mut Pass<'_>) -> Tensor {
    let x = model.embeddings(ids, &[], &[], &[]).unwrap();
    let states = model.forward_all(&x, [positions; 3], pass).unwrap();
    model.text.logits(&model.text.normalise(&states, pass).unwrap()).unwrap()
}

fn qkv(shape: &Shape, n: usize, m: usize) -> (Tensor, Tensor, Tensor) {
    let d = 2 * shape.half;
    let random = |heads, n| Tensor::randn(0f32, 1.5, (heads, n, d), &Device::Cpu).unwrap();
    (random(shape.heads(), n), random(shape.kv_heads, m), random(shape.kv_heads, m))
}

const SITE: Site = Site { tower: Tower::Text, layer: 0 };

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn rows_sum_to_one_and_never_look_ahead(shape in shapes(), n in 1..300usize) {
        let model = shape.thinker();
        let (ids, positions) = words(shape.seed, n);
        let mut tap = Everything::default();
        logits(&model, &ids, &positions, &mut Pass { tap: Some(&mut tap), ..Pass::default() });
        let mut seen = vec![0; shape.layers];
        for (site, queries, keys, probs) in &tap.rows {
            seen[site.layer] += queries.len();
            let (heads, rows, cols) = probs.dims3().unwrap();
            prop_assert_eq!((heads, rows, cols), (shape.heads(), queries.len(), keys.len()));
            for (i, row) in numbers(probs).chunks(cols).enumerate() {
                let query = queries.start + i % rows;
                let sum: f32 = row.iter().sum();
                prop_assert!((sum - 1.0).abs() < 1e-5, "row of query {query} sums to {sum}");
                prop_assert!(row[query + 1 - keys.start..].iter().all(|p| *p == 0.0));
            }
        }
        prop_assert!(seen.iter().all(|s| *s == n), "every layer shows every row once: {seen:?}");
    }

    #[test]
    fn watching_changes_nothing(shape in shapes(), n in 1..200usize) {
        let model = shape.thinker();
        let (ids, positions) = words(shape.seed, n);
        for mode in [Mode::Answer, Mode::Eager] {
            let plain = logits(&model, &ids, &positions, &mut Pass { mode, ..Pass::default() });
            let mut tap = Everything::default();
            let watched = logits(&model, &ids, &positions, &mut Pass { mode, tap: Some(&mut tap), ..Pass::default() });
            prop_assert_eq!(numbers(&plain), numbers(&watched));
        }
    }

    #[test]
    fn what_is_shown_is_what_weighs_the_values(shape in shapes(), n in 1..200usize, before in 0..50usize) {
        let (q, k, v) = qkv(&shape, n, before + n);
        for mode in [Mode::Answer, Mode::Eager] {
            let mut tap = Everything::default();
            let out = attend(&q, &k, &v, Mask::Causal, SITE, &mut Pass { mode, tap: Some(&mut tap), ..Pass::default() })
                .unwrap(); // [n, heads · d]
            let out = out.reshape((n, shape.heads(), 2 * shape.half)).unwrap();
            for (_, queries, keys, probs) in &tap.rows {
                for head in 0..shape.heads() {
                    let values = v.i((head / shape.group, keys.clone())).unwrap();
                    let expected = probs.i(head).unwrap().matmul(&values).unwrap();
                    let rows = queries.start - before..queries.end - before;
                    let got = out.i((rows, head)).unwrap().contiguous().unwrap();
                    prop_assert!(worst(&got, &expected) < 1e-4);
                }
            }
        }
    }

    #[test]
    fn both_modes_agree(shape in shapes(), n in 1..200usize) {
        let model = shape.thinker();
        let (ids, positions) = words(shape.seed, n);
        let fast = logits(&model, &ids, &positions, &mut Pass::default());
        let eager = logits(&model, &ids, &positions, &mut Pass::eager());
        prop_assert!(worst(&fast, &eager) < 2e-3);
    }

    #[test]
    fn in_pieces_is_as_in_one(shape in shapes(), n in 2..260usize, cut in 0.0..1.0f64) {
        let model = shape.thinker();
        let (ids, positions) = words(shape.seed, n);
        let whole = logits(&model, &ids, &positions, &mut Pass::default());
        let cut = 1 + ((n - 1) as f64 * cut) as usize;
        let mut cache = model.text.new_cache();
        let mut pieces = Vec::new();
        // One long piece, then token by token: chunked prefill and decode at once.
        let steps = std::iter::once(0..cut).chain((cut..n).map(|i| i..i + 1));
        for piece in steps {
            let x = model.embeddings(&ids[piece.clone()], &[], &[], &[]).unwrap();
            let at = &positions[piece];
            let mut pass = Pass::default();
            let states = model.text.forward(&x, [at; 3], Mask::Causal, Some(&mut cache), &mut pass).unwrap();
            pieces.push(model.text.logits(&model.text.normalise(&states, &pass).unwrap()).unwrap());
        }
        prop_assert_eq!(cache.len(), n);
        let pieces = Tensor::cat(&pieces, 0).unwrap();
        prop_assert!(worst(&whole, &pieces) < 1e-3, "{}", worst(&whole, &pieces));
    }

    #[test]
    fn a_gain_of_one_is_no_edit(shape in shapes(), n in 1..100usize) {
        let model = shape.thinker();
        let (ids, positions) = words(shape.seed, n);
        let edit = Edit {
            keys: TokenSet::all(), queries: TokenSet::all(), layers: 0..99, heads: HeadSet::All, log_gain: 0.0,
        };
        let plain = logits(&model, &ids, &positions, &mut Pass::default());
        let edited = logits(&model, &ids, &positions, &mut Pass { edits: &[edit], ..Pass::default() });
        prop_assert_eq!(numbers(&plain), numbers(&edited));
    }

    #[test]
    fn an_edit_scales_the_odds_and_reaches_nothing_else(
        shape in shapes(), n in 2..150usize, gain in 0.05..20f32, knock_out in any::<bool>(), pick in any::<u64>(),
    ) {
        let (q, k, v) = qkv(&shape, n, n);
        let key = pick as usize % n;
        let query = key + (pick >> 20) as usize % (n - key);
        let head = (pick >> 40) as usize % shape.heads();
        let gain = if knock_out { 0.0 } else { gain };
        let edit = Edit {
            keys: [key].into_iter().collect(),
            queries: TokenSet::range(query..query + 1),
            layers: 0..1,
            heads: HeadSet::Some(vec![head]),
            log_gain: gain.ln(),
        };
        for mode in [Mode::Answer, Mode::Eager] {
            let run = |edits: &[Edit], site| {
                let mut tap = Everything::default();
                let mut pass = Pass { mode, tap: Some(&mut tap), edits, ..Pass::default() };
                attend(&q, &k, &v, Mask::Causal, site, &mut pass).unwrap();
                let row = |h: usize, i: usize| {
                    let (_, queries, _, probs) = tap.rows.iter().find(|(_, r, _, _)| r.contains(&i)).unwrap();
                    let row = numbers(&probs.i((h, i - queries.start)).unwrap());
                    row[..=i].to_vec()
                };
                (0..shape.heads()).flat_map(|h| (0..n).map(move |i| (h, i))).map(|(h, i)| row(h, i)).collect::<Vec<_>>()
            };
            let plain = run(&[], SITE);
            let edited = run(std::slice::from_ref(&edit), SITE);
            prop_assert_eq!(&plain, &run(std::slice::from_ref(&edit), Site { tower: Tower::Text, layer: 1 }));
            for (at, (p, e)) in plain.iter().zip(&edited).enumerate() {
                if at == head * n + query {
                    let mut expected = p.clone();
                    expected[key] *= gain;
                    let sum: f32 = expected.iter().sum();
                    for (got, want) in e.iter().zip(&expected) {
                        let want = if sum > 0.0 { want / sum } else { 0.0 };
                        prop_assert!(got.is_finite() && (got - want).abs() < 1e-4, "{got} is not {want}");
                    }
                } else {
                    for (a, b) in p.iter().zip(e) {
                        prop_assert!((a - b).abs() < 1e-6);
                    }
                }
            }
        }
    }

    #[test]
    fn blocks_are_separate_runs(
        shape in shapes(), lengths in prop::collection::vec(1..40usize, 1..6), causal in any::<bool>(),
    ) {
        let n = lengths.iter().sum();
        let (q, k, v) = qkv(&shape, n, n);
        let trees: Vec<Tree> = lengths.iter().map(|l| Tree { prefix: *l, branches: Vec::new() }).collect();
        let mask = if causal { Mask::Trees(&trees) } else { Mask::Blocks(&lengths) };
        for mode in [Mode::Answer, Mode::Eager] {
            let mut tap = Everything::default();
            let pass = &mut Pass { mode, tap: Some(&mut tap), ..Pass::default() };
            let together = attend(&q, &k, &v, mask, SITE, pass).unwrap();
            let mut start = 0;
            for length in &lengths {
                let part = |x: &Tensor| x.narrow(1, start, *length).unwrap().contiguous().unwrap();
                let one = [*length];
                let mask = if causal { Mask::Causal } else { Mask::Blocks(&one) };
                let alone =
                    attend(&part(&q), &part(&k), &part(&v), mask, SITE, &mut Pass { mode, ..Pass::default() }).unwrap();
                prop_assert!(worst(&together.narrow(0, start, *length).unwrap(), &alone) < 1e-5);
                start += length;
            }
            prop_assert_eq!(tap.rows.iter().map(|(_, r, _, _)| r.len()).sum::<usize>(), n);
        }
    }
}

/// Short stretches have a kernel of their own in host memory; other devices run plain operations, as f64 does here. Both
/// give the same output and show the same rows, and what is shown weighs the values.
#[test]
fn the_kernel_for_stretches_is_the_plain_operations() {
    let shape = Shape {
        layers: 1,
        kv_heads: 2,
        group: 3,
        half: 4,
        merge: 1,
        patch: 2,
        window: 1,
        n_window: 5,
        tied: false,
        seed: 5,
    };
    let lengths = [7, 7, 1, 30, 30, 30, 4];
    let branched = [(9, vec![4, 1, 6]), (30, vec![]), (0, vec![5, 3]), (45, vec![])];
    let branched = branched.map(|(prefix, branches)| Tree { prefix, branches });
    let straight = lengths.map(|prefix| Tree { prefix, branches: Vec::new() });
    for (mask, watched) in [(Mask::Blocks(&lengths), 109), (Mask::Trees(&straight), 109), (Mask::Trees(&branched), 75)]
    {
        let n = if watched == 109 { 109 } else { branched.iter().map(Tree::len).sum() };
        let (q, k, v) = qkv(&shape, n, n);
        for mode in [Mode::Answer, Mode::Eager] {
            let run = |dtype: DType| {
                let [q, k, v] = [&q, &k, &v].map(|t| t.to_dtype(dtype).unwrap());
                let mut tap = Everything::default();
                let out = attend(&q, &k, &v, mask, SITE, &mut Pass { mode, tap: Some(&mut tap), ..Pass::default() });
                (out.unwrap().to_dtype(DType::F32).unwrap(), tap)
            };
            let ((ours, shown), (plain, also)) = (run(DType::F32), run(DType::F64));
            assert!(worst(&ours, &plain) < 1e-5);
            for tap in [&shown, &also] {
                assert_eq!(tap.rows.iter().map(|(_, queries, _, _)| queries.len()).sum::<usize>(), watched);
            }
            let out = ours.reshape((n, shape.heads(), 2 * shape.half)).unwrap();
            for ((_, queries, keys, probs), (_, _, _, other)) in shown.rows.iter().zip(&also.rows) {
                assert!(worst(probs, other) < 1e-5);
                for head in 0..shape.heads() {
                    let values = v.i((head / shape.group, keys.clone())).unwrap();
                    let weighed = probs.i(head).unwrap().matmul(&values).unwrap();
                    assert!(worst(&weighed, &out.i((queries.clone(), head)).unwrap().contiguous().unwrap()) < 1e-5);
                }
            }
        }
    }
}

/// Knocking out every key of a row leaves a zero row and a finite answer, in both modes.
#[test]
fn nothing_left_is_zero_not_nan() {
    let shape = Shape {
        layers: 2,
        kv_heads: 1,
        group: 2,
        half: 4,
        merge: 2,
        patch: 2,
        window: 1,
        n_window: 5,
        tied: false,
        seed: 3,
    };
    let model = shape.thinker();
    let (ids, positions) = words(1, 40);
    let edit = Edit {
        keys: TokenSet::all(),
        queries: TokenSet::range(20..30),
        layers: 0..9,
        heads: HeadSet::All,
        log_gain: f32::NEG_INFINITY,
    };
    for mode in [Mode::Answer, Mode::Eager] {
        let mut tap = Everything::default();
        let edits = std::slice::from_ref(&edit);
        let out = logits(&model, &ids, &positions, &mut Pass { mode, tap: Some(&mut tap), edits, ..Pass::default() });
        assert!(numbers(&out).iter().all(|x| x.is_finite()));
        for (_, queries, _, probs) in &tap.rows {
            for query in queries.clone().filter(|q| (20..30).contains(q)) {
                let row = probs.i((.., query - queries.start)).unwrap();
                assert!(numbers(&row).iter().all(|p| *p == 0.0));
            }
        }
    }
}

/// A cancelled pass stops at the next layer and leaves the cache as it was.
#[test]
fn a_cancelled_pass_leaves_the_cache_alone() {
    use std::sync::atomic::AtomicBool;
    let shape = Shape {
        layers: 3,
        kv_heads: 2,
        group: 1,
        half: 3,
        merge: 1,
        patch: 2,
        window: 1,
        n_window: 5,
        tied: true,
        seed: 9,
    };
    let model = shape.thinker();
    let (ids, positions) = words(1, 12);
    let mut cache = model.text.new_cache();
    let x = model.embeddings(&ids, &[], &[], &[]).unwrap();
    let stop = AtomicBool::new(true);
    let mut pass = Pass { cancel: Some(&stop), ..Pass::default() };
    let result = model.text.forward(&x, [&positions; 3], Mask::Causal, Some(&mut cache), &mut pass);
    assert!(matches!(result, Err(modalens::model::ModelError::Cancelled)));
    assert!(cache.is_empty());
}
