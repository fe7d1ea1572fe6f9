"""A fully connected GAN as its tutorials have it (after the shape of PyTorch-GAN, implementations/gan/gan.py).

What `gantool bench against=loop` compares with: plain PyTorch, eager, float32, nothing tuned, nothing slowed down.
"""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader
from torchvision import transforms


class Generator(nn.Module):
    def __init__(self, latent_dim: int, channels: int, image_size: int):
        super().__init__()
        self.image_shape = (channels, image_size, image_size)
        self.model = nn.Sequential(
            nn.Linear(latent_dim, 128),
            nn.BatchNorm1d(128),
            nn.LeakyReLU(0.2, inplace=True),
            nn.Linear(128, 256),
            nn.BatchNorm1d(256),
            nn.LeakyReLU(0.2, inplace=True),
            nn.Linear(256, 512),
            nn.BatchNorm1d(512),
            nn.LeakyReLU(0.2, inplace=True),
            nn.Linear(512, 1024),
            nn.BatchNorm1d(1024),
            nn.LeakyReLU(0.2, inplace=True),
            nn.Linear(1024, channels * image_size * image_size),
            nn.Tanh(),
        )

    def forward(self, z: Tensor) -> Tensor:
        return self.model(z).view(z.size(0), *self.image_shape)


class Discriminator(nn.Module):
    def __init__(self, channels: int, image_size: int):
        super().__init__()
        self.model = nn.Sequential(
            nn.Linear(channels * image_size * image_size, 512),
            nn.LeakyReLU(0.2, inplace=True),
            nn.Linear(512, 256),
            nn.LeakyReLU(0.2, inplace=True),
            nn.Linear(256, 1),
            nn.Sigmoid(),
        )

    def forward(self, image: Tensor) -> Tensor:
        return self.model(image.view(image.size(0), -1))


def train(
    pictures: Callable[..., Any],  # transform=... -> a dataset of images and labels
    channels: int = 1,
    image_size: int = 28,
    latent_dim: int = 100,
    batch_size: int = 64,
    lr: float = 0.0002,
    betas: tuple[float, float] = (0.5, 0.999),
    device: str = "cpu",
) -> Iterator[tuple[float, float]]:
    """D's and G's loss after each step, for ever."""
    dataset = pictures(
        transform=transforms.Compose(
            [
                transforms.Resize(image_size),
                transforms.ToTensor(),
                transforms.Normalize([0.5] * channels, [0.5] * channels),
            ]
        )
    )
    loader = DataLoader(dataset, batch_size=batch_size, shuffle=True)

    generator = Generator(latent_dim, channels, image_size).to(device)
    discriminator = Discriminator(channels, image_size).to(device)
    criterion = nn.BCELoss()
    optimizer_g = torch.optim.Adam(generator.parameters(), lr=lr, betas=betas)
    optimizer_d = torch.optim.Adam(discriminator.parameters(), lr=lr, betas=betas)

    while True:
        for images, _ in loader:
            real_images = images.to(device)
            valid = torch.ones(images.size(0), 1, device=device)
            fake = torch.zeros(images.size(0), 1, device=device)

            # generator
            optimizer_g.zero_grad()
            z = torch.randn(images.size(0), latent_dim, device=device)
            generated = generator(z)
            g_loss = criterion(discriminator(generated), valid)
            g_loss.backward()
            optimizer_g.step()

            # discriminator
            optimizer_d.zero_grad()
            real_loss = criterion(discriminator(real_images), valid)
            fake_loss = criterion(discriminator(generated.detach()), fake)
            d_loss = (real_loss + fake_loss) / 2
            d_loss.backward()
            optimizer_d.step()

            yield d_loss.item(), g_loss.item()  # where the tutorial prints them
