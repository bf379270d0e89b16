//! The one way a pipeline of this program is made: one uniform, some textures whose texels are read as they are, one
//! triangle over the viewport. Knows nothing of what the shaders draw.

use wgpu::util::DeviceExt as _;

use super::COMMON_WGSL;

/// A render pipeline with its bind-group layout and uniform buffer.
pub(super) struct Pipeline {
    pub(super) render: wgpu::RenderPipeline,
    pub(super) layout: wgpu::BindGroupLayout,
    pub(super) uniform: wgpu::Buffer,
    /// The last binding, where the shader gathers.
    sampler: Option<wgpu::Sampler>,
}

/// How a pipeline's shader reads its textures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reads {
    /// Texel by texel.
    Texels,
    /// Four neighbours at once, through a sampler that is the last binding.
    Gathers,
}

impl Pipeline {
    /// Compiles `common.wgsl` + `source` with the fragment entry point `fragment` for a target of `format`.
    /// `textures` are the sample types of bindings 1, 2, …; the uniform (binding 0) starts as `uniform`.
    #[allow(clippy::too_many_arguments, reason = "what a pipeline is made of, in one place")]
    pub(super) fn new(
        device: &wgpu::Device,
        format: wgpu::TextureFormat,
        label: &str,
        source: &str,
        fragment: &str,
        textures: &[wgpu::TextureSampleType],
        reads: Reads,
        uniform: &[u8],
    ) -> Self {
        let module = device.create_shader_module(wgpu::ShaderModuleDescriptor {
            label: Some(label),
            source: wgpu::ShaderSource::Wgsl(format!("{COMMON_WGSL}\n{source}").into()),
        });
        let mut entries = vec![wgpu::BindGroupLayoutEntry {
            binding: 0,
            visibility: wgpu::ShaderStages::FRAGMENT,
            ty: wgpu::BindingType::Buffer {
                ty: wgpu::BufferBindingType::Uniform,
                has_dynamic_offset: false,
                min_binding_size: std::num::NonZeroU64::new(uniform.len() as u64),
            },
            count: None,
        }];
        entries.extend(textures.iter().zip(1..).map(|(sample_type, binding)| wgpu::BindGroupLayoutEntry {
            binding,
            visibility: wgpu::ShaderStages::FRAGMENT,
            ty: wgpu::BindingType::Texture {
                sample_type: *sample_type,
                view_dimension: wgpu::TextureViewDimension::D2,
                multisampled: false,
            },
            count: None,
        }));
        let sampler = (reads == Reads::Gathers).then(|| {
            entries.push(wgpu::BindGroupLayoutEntry {
                binding: entries.len() as u32,
                visibility: wgpu::ShaderStages::FRAGMENT,
                ty: wgpu::BindingType::Sampler(wgpu::SamplerBindingType::NonFiltering),
                count: None,
            });
            // Nearest, clamped to the edge.
            device.create_sampler(&wgpu::SamplerDescriptor::default())
        });
        let layout =
            device.create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor { label: Some(label), entries: &entries });
        let pipeline_layout = device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
            label: Some(label),
            bind_group_layouts: &[Some(&layout)],
            immediate_size: 0,
        });
        let constants = [("target_is_srgb", f64::from(u8::from(format.is_srgb())))];
        let render = device.create_render_pipeline(&wgpu::RenderPipelineDescriptor {
            label: Some(label),
            layout: Some(&pipeline_layout),
            vertex: wgpu::VertexState {
                module: &module,
                entry_point: Some("whole_viewport"),
                compilation_options: wgpu::PipelineCompilationOptions::default(),
                buffers: &[],
            },
            primitive: wgpu::PrimitiveState::default(),
            depth_stencil: None,
            multisample: wgpu::MultisampleState::default(),
            fragment: Some(wgpu::FragmentState {
                module: &module,
                entry_point: Some(fragment),
                compilation_options: wgpu::PipelineCompilationOptions { constants: &constants, ..Default::default() },
                targets: &[Some(wgpu::ColorTargetState {
                    format,
                    blend: Some(wgpu::BlendState::PREMULTIPLIED_ALPHA_BLENDING),
                    write_mask: wgpu::ColorWrites::ALL,
                })],
            }),
            multiview_mask: None,
            cache: None,
        });
        Self { render, layout, uniform: uniform_buffer(device, uniform), sampler }
    }

    /// The same pipeline, compiled once, with a uniform of its own.
    pub(super) fn another(&self, device: &wgpu::Device, uniform: &[u8]) -> Self {
        let (render, layout, sampler) = (self.render.clone(), self.layout.clone(), self.sampler.clone());
        Self { render, layout, uniform: uniform_buffer(device, uniform), sampler }
    }

    /// Binds the uniform and `views` (bindings 1, 2, …).
    pub(super) fn bind(&self, device: &wgpu::Device, views: &[&wgpu::TextureView]) -> wgpu::BindGroup {
        let mut entries = vec![wgpu::BindGroupEntry { binding: 0, resource: self.uniform.as_entire_binding() }];
        entries.extend(views.iter().zip(1..).map(|(view, binding)| wgpu::BindGroupEntry {
            binding,
            resource: wgpu::BindingResource::TextureView(view),
        }));
        if let Some(sampler) = &self.sampler {
            let binding = entries.len() as u32;
            entries.push(wgpu::BindGroupEntry { binding, resource: wgpu::BindingResource::Sampler(sampler) });
        }
        device.create_bind_group(&wgpu::BindGroupDescriptor { label: None, layout: &self.layout, entries: &entries })
    }

    /// Draws with `bind_group` over the pass's whole viewport.
    pub(super) fn draw(&self, pass: &mut wgpu::RenderPass<'_>, bind_group: &wgpu::BindGroup) {
        pass.set_pipeline(&self.render);
        pass.set_bind_group(0, bind_group, &[]);
        pass.draw(0..3, 0..1);
    }
}

fn uniform_buffer(device: &wgpu::Device, contents: &[u8]) -> wgpu::Buffer {
    device.create_buffer_init(&wgpu::util::BufferInitDescriptor {
        label: None,
        contents,
        usage: wgpu::BufferUsages::UNIFORM | wgpu::BufferUsages::COPY_DST,
    })
}

/// A texture that shaders read texel by texel, kept while size and format stay.
pub(super) struct DataTexture {
    texture: wgpu::Texture,
    pub(super) view: wgpu::TextureView,
}

impl DataTexture {
    /// An uninitialised (zero) texture of at least 1×1.
    pub(super) fn new(device: &wgpu::Device, width: u32, height: u32, format: wgpu::TextureFormat) -> Self {
        let texture = device.create_texture(&wgpu::TextureDescriptor {
            label: None,
            size: wgpu::Extent3d { width: width.max(1), height: height.max(1), depth_or_array_layers: 1 },
            mip_level_count: 1,
            sample_count: 1,
            dimension: wgpu::TextureDimension::D2,
            format,
            usage: wgpu::TextureUsages::TEXTURE_BINDING | wgpu::TextureUsages::COPY_DST,
            view_formats: &[],
        });
        let view = texture.create_view(&wgpu::TextureViewDescriptor::default());
        Self { texture, view }
    }

    /// Whether a new texture would be the same.
    pub(super) fn fits(&self, width: u32, height: u32, format: wgpu::TextureFormat) -> bool {
        self.texture.width() == width.max(1)
            && self.texture.height() == height.max(1)
            && self.texture.format() == format
    }

    /// Overwrites all texels; `data` has rows of `bytes_per_row` bytes.
    pub(super) fn write(&self, queue: &wgpu::Queue, data: &[u8], bytes_per_row: u32) {
        queue.write_texture(
            self.texture.as_image_copy(),
            data,
            wgpu::TexelCopyBufferLayout { offset: 0, bytes_per_row: Some(bytes_per_row), rows_per_image: None },
            self.texture.size(),
        );
    }

    /// Makes `slot` a texture of this size and format; `true` when it had to be made anew.
    pub(super) fn ensure(
        slot: &mut Option<Self>,
        device: &wgpu::Device,
        width: u32,
        height: u32,
        format: wgpu::TextureFormat,
    ) -> bool {
        if slot.as_ref().is_some_and(|t| t.fits(width, height, format)) {
            return false;
        }
        *slot = Some(Self::new(device, width, height, format));
        true
    }
}
