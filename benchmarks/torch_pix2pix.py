"""pix2pix in PyTorch, from the paper: the peer that others would otherwise use.

Networks, losses and optimizers as Isola et al. 2017 (arXiv 1611.07004, section 6) give
them: a U-Net of log2(S) blocks with transposed 4 × 4 convolutions, a 70 × 70 PatchGAN,
batch norm, dropout in three decoder blocks, L1 weighted by 100, Adam(2e-4, β₁ 0.5).
"""

import warnings

import numpy as np
import torch
from torch import nn
from torch.nn import functional

L1_WEIGHT = 100.0
MAX_WIDENING = 8  # filters grow to at most 8 · base
DROPOUT_BLOCKS = 3


class UNet(nn.Module):
    """The generator: log2(S) halvings, as many doublings, a skip at every size.

    Args:
        image_size: int. Side S in pixels, a power of two.
        base_filters: int. Filters of the first block; 64 in the paper.
    """

    def __init__(self, image_size: int = 256, base_filters: int = 64):
        super().__init__()
        blocks = image_size.bit_length() - 1
        filters = [min(2**i, MAX_WIDENING) * base_filters for i in range(blocks)]
        self.encoder = nn.ModuleList()
        channels = 3
        for i, width in enumerate(filters):
            norm = 0 < i < blocks - 1  # not on the first and the innermost
            layers = [nn.Conv2d(channels, width, 4, 2, 1, bias=not norm)]
            if i > 0:
                layers.insert(0, nn.LeakyReLU(0.2))
            if norm:
                layers.append(nn.BatchNorm2d(width))
            self.encoder.append(nn.Sequential(*layers))
            channels = width
        self.decoder = nn.ModuleList()
        for i, width in enumerate(reversed(filters[:-1])):
            layers = [
                nn.ReLU(),
                nn.ConvTranspose2d(channels, width, 4, 2, 1, bias=False),
                nn.BatchNorm2d(width),
            ]
            if i < DROPOUT_BLOCKS:
                layers.append(nn.Dropout(0.5))
            self.decoder.append(nn.Sequential(*layers))
            channels = 2 * width
        self.last = nn.Sequential(
            nn.ReLU(), nn.ConvTranspose2d(channels, 3, 4, 2, 1), nn.Tanh()
        )

    def forward(self, semantic_map):
        skips, x = [], semantic_map
        for block in self.encoder:
            x = block(x)
            skips.append(x)
        x = skips.pop()
        for block in self.decoder:
            x = torch.cat([block(x), skips.pop()], dim=1)
        return self.last(x)


class PatchGan(nn.Module):
    """The discriminator on (map, image): C64-C128-C256-C512-1, 70 × 70 patches."""

    def __init__(self, base_filters: int = 64):
        super().__init__()
        widths = [base_filters * 2**i for i in range(4)]
        layers = [nn.Conv2d(6, widths[0], 4, 2, 1), nn.LeakyReLU(0.2)]
        for i, width in enumerate(widths[1:]):
            stride = 2 if i < 2 else 1
            layers += [
                nn.Conv2d(widths[i], width, 4, stride, 1, bias=False),
                nn.BatchNorm2d(width),
                nn.LeakyReLU(0.2),
            ]
        layers.append(nn.Conv2d(widths[-1], 1, 4, 1, 1))
        self.layers = nn.Sequential(*layers)

    def forward(self, semantic_map, image):
        return self.layers(torch.cat([semantic_map, image], dim=1))


class Pix2Pix:
    """Both networks, their optimizers and the training step.

    Args:
        image_size, base_filters: of the networks.
        half: bool. Whether the forward passes run under bf16 autocast.

    Settings are the fastest found on two AVX-512 cores, with 2.13. Weights and images
    are laid out NHWC: bf16 trains 8 % faster so, fp32 alike. Adam is fused. Networks
    are not put through torch.compile, which changed nothing in fp32 and was 10 % slower
    in bf16; neither did another malloc or huge pages help.
    """

    def __init__(
        self,
        image_size: int = 256,
        base_filters: int = 64,
        half: bool = False,
    ):
        torch.manual_seed(0)
        self.half = half
        self.generator = UNet(image_size, base_filters)
        self.discriminator = PatchGan(base_filters)
        for network in (self.generator, self.discriminator):
            network.apply(_initialize)
            network.to(memory_format=torch.channels_last)
        self.optimizers = [
            torch.optim.Adam(n.parameters(), lr=2e-4, betas=(0.5, 0.999), fused=True)
            for n in (self.generator, self.discriminator)
        ]

    def tensor(self, images: np.ndarray) -> torch.Tensor:
        """float32 [N, S, S, 3] as torch wants it: [N, 3, S, S], laid out NHWC."""
        tensor = torch.from_numpy(images).permute(0, 3, 1, 2)
        return tensor.contiguous(memory_format=torch.channels_last)

    def train_step(self, semantic_map: torch.Tensor, real: torch.Tensor) -> None:
        """One update of the discriminator, then one of the generator."""
        generator_optimizer, discriminator_optimizer = self.optimizers
        with self._autocast():
            synthetic = self.generator(semantic_map)
        self.discriminator.requires_grad_(True)
        with self._autocast():
            on_synthetic = self.discriminator(semantic_map, synthetic.detach())
            on_real = self.discriminator(semantic_map, real)
        loss = 0.5 * (_cross_entropy(on_synthetic, 0.0) + _cross_entropy(on_real, 1.0))
        discriminator_optimizer.zero_grad(set_to_none=True)
        loss.backward()
        discriminator_optimizer.step()

        self.discriminator.requires_grad_(False)
        with self._autocast():
            logits = self.discriminator(semantic_map, synthetic)
        loss = _cross_entropy(logits, 1.0)
        loss = loss + L1_WEIGHT * functional.l1_loss(synthetic.float(), real)
        generator_optimizer.zero_grad(set_to_none=True)
        loss.backward()
        generator_optimizer.step()

    def inference(self, semantic_map: torch.Tensor, way: str):
        """Returns a function without arguments that paints `semantic_map`.

        Args:
            semantic_map: as from `tensor`.
            way: "eager" (bf16 by autocast), "half" (weights turned to bf16 once) or
                "frozen" (traced, norms folded into the convolutions, the graph
                optimised; in bf16 with weights turned to bf16).
        """
        generator = self.generator.eval()
        if way == "eager":

            def paint():
                with self._autocast():
                    return generator(semantic_map)

            return paint
        if self.half:
            generator = generator.to(torch.bfloat16)
            semantic_map = semantic_map.to(torch.bfloat16)
        if way == "frozen":
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # its parts are deprecated, but fast
                traced = torch.jit.freeze(torch.jit.trace(generator, semantic_map))
                generator = torch.jit.optimize_for_inference(traced)
        return lambda: generator(semantic_map)

    def _autocast(self):
        return torch.autocast("cpu", dtype=torch.bfloat16, enabled=self.half)


def _cross_entropy(logits, target: float):
    logits = logits.float()
    return functional.binary_cross_entropy_with_logits(
        logits, torch.full_like(logits, target)
    )


def _initialize(module):
    if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)):
        nn.init.normal_(module.weight, 0.0, 0.02)
    elif isinstance(module, nn.BatchNorm2d):
        nn.init.normal_(module.weight, 1.0, 0.02)
