//! One transformer block, configured for every tower: pre-norm attention and pre-norm MLP with residuals.
//! Knows nothing of what its tokens are.

use candle_core::Tensor;

use crate::model::Result;
use crate::model::nn::attention::attend;
use crate::model::nn::cache::KvCache;
use crate::model::nn::kernels;
use crate::model::nn::linear::Linear;
use crate::model::nn::mask::Mask;
use crate::model::nn::norm::{Norm, NormKind};
use crate::model::nn::pass::Pass;
use crate::model::nn::rope::RopeTable;
use crate::model::nn::tap::Site;
use crate::model::nn::weights::{Scope, WeightError};

/// The feed-forward half of a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MlpKind {
    /// `down(silu(gate(x)) · up(x))`.
    GatedSilu,
    /// `fc2(gelu(fc1(x)))` with the error function.
    Gelu,
}

/// What a block is made of and how its tensors are called.
#[derive(Debug, Clone, PartialEq)]
pub struct BlockSpec {
    /// Width of the residual stream.
    pub width: usize,
    /// Query heads.
    pub heads: usize,
    /// Key/value heads.
    pub kv_heads: usize,
    /// Width of the MLP.
    pub mlp_width: usize,
    /// Both norms.
    pub norm: NormKind,
    /// The MLP.
    pub mlp: MlpKind,
    /// Biases of q, k, v, o and of the MLP's layers.
    pub bias: Biases,
    /// Tensor names.
    pub names: Names,
}

/// Which linear layers have a bias.
#[allow(clippy::struct_excessive_bools, reason = "a checkpoint's biases are just that: four independent facts")]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Biases {
    /// Queries and values.
    pub qv: bool,
    /// Keys.
    pub k: bool,
    /// Output projection.
    pub o: bool,
    /// MLP.
    pub mlp: bool,
}

/// How a checkpoint calls a block's tensors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Names {
    /// Norm before attention.
    pub attention_norm: &'static str,
    /// Group of the projections.
    pub attention: &'static str,
    /// Queries, keys, values, output.
    pub qkvo: [&'static str; 4],
    /// Norm before the MLP.
    pub mlp_norm: &'static str,
    /// MLP layers: gate, up, down; or fc1, fc2 and an unused third.
    pub mlp: [&'static str; 3],
}

/// A loaded block.
#[derive(Debug)]
pub struct Block {
    attention_norm: Norm,
    qkv: Linear,
    output: Linear,
    mlp_norm: Norm,
    mlp_in: Linear,
    mlp_out: Linear,
    mlp: MlpKind,
    heads: usize,
    kv_heads: usize,
    head_dim: usize,
    site: Site,
}

impl Block {
    /// Reads a block's weights.
    pub fn load(scope: &Scope<'_>, spec: &BlockSpec, site: Site) -> Result<Self, WeightError> {
        let head_dim = spec.width / spec.heads;
        let attention = if spec.names.attention.is_empty() { scope.clone() } else { scope.pp(spec.names.attention) };
        let [q, k, v, o] = spec.names.qkvo;
        let kv_width = spec.kv_heads * head_dim;
        let qkv = Linear::load_fused(
            &attention,
            spec.width,
            &[(q, spec.width, spec.bias.qv), (k, kv_width, spec.bias.k), (v, kv_width, spec.bias.qv)],
        )?;
        let [first, second, third] = spec.names.mlp;
        let (mlp_in, mlp_out) = match spec.mlp {
            MlpKind::GatedSilu => (
                Linear::load_fused(
                    scope,
                    spec.width,
                    &[(first, spec.mlp_width, spec.bias.mlp), (second, spec.mlp_width, spec.bias.mlp)],
                )?,
                Linear::load(&scope.pp(third), spec.mlp_width, spec.width, spec.bias.mlp)?,
            ),
            MlpKind::Gelu => (
                Linear::load(&scope.pp(first), spec.width, spec.mlp_width, spec.bias.mlp)?,
                Linear::load(&scope.pp(second), spec.mlp_width, spec.width, spec.bias.mlp)?,
            ),
        };
        Ok(Self {
            attention_norm: Norm::load(&scope.pp(spec.names.attention_norm), spec.width, spec.norm)?,
            qkv,
            output: Linear::load(&attention.pp(o), spec.width, spec.width, spec.bias.o)?,
            mlp_norm: Norm::load(&scope.pp(spec.names.mlp_norm), spec.width, spec.norm)?,
            mlp_in,
            mlp_out,
            mlp: spec.mlp,
            heads: spec.heads,
            kv_heads: spec.kv_heads,
            head_dim,
            site,
        })
    }

    /// `[tokens, width]` → the same. With a cache, the tokens follow those cached.
    pub fn forward(
        &self,
        x: &Tensor,
        rope: Option<&RopeTable>,
        mask: Mask<'_>,
        cache: Option<&mut KvCache>,
        pass: &mut Pass<'_>,
    ) -> Result<Tensor> {
        pass.check()?;
        let mode = pass.mode;
        let heads = [self.heads, self.kv_heads, self.kv_heads];
        let [q, k, v] = self.qkv.forward_heads(&self.attention_norm.forward(x, mode)?, heads, self.head_dim)?;
        // [tokens, heads, d] → [heads, tokens, d]
        let turn = |x: &Tensor| x.transpose(0, 1)?.contiguous();
        let (mut q, mut k, v) = (turn(&q)?, turn(&k)?, turn(&v)?);
        if let Some(rope) = rope {
            (q, k) = (rope.apply(&q, mode)?, rope.apply(&k, mode)?);
        }
        let (k, v) = match cache {
            Some(cache) => cache.append(self.site.layer, &k, &v)?,
            None => (k, v),
        };
        let attended = attend(&q, &k, &v, mask, self.site, pass)?;
        let x = (x + self.output.forward(&attended)?)?;
        let inner = self.mlp_in.forward(&self.mlp_norm.forward(&x, mode)?)?;
        let inner = match self.mlp {
            MlpKind::GatedSilu => kernels::silu_mul(&inner)?,
            MlpKind::Gelu => kernels::gelu(&inner)?,
        };
        let x = (x + self.mlp_out.forward(&inner)?)?;
        if let Some(tap) = pass.tap.as_deref_mut() {
            tap.hidden(self.site, &x)?;
        }
        Ok(x)
    }
}
