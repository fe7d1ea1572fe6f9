"""A DCGAN of 64 x 64 pixels as its tutorials have it (after the shape of pytorch/examples, dcgan/main.py).

What `gantool bench against=loop` compares with: plain PyTorch, eager, float32, nothing tuned, nothing slowed down.
"""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader
from torchvision import transforms


class Generator(nn.Module):
    def __init__(self, latent_dim: int, channels: int):
        super().__init__()
        self.main = nn.Sequential(
            nn.ConvTranspose2d(latent_dim, 512, 4, 1, 0, bias=False),
            nn.BatchNorm2d(512),
            nn.ReLU(True),
            nn.ConvTranspose2d(512, 256, 4, 2, 1, bias=False),  # 8 x 8
            nn.BatchNorm2d(256),
            nn.ReLU(True),
            nn.ConvTranspose2d(256, 128, 4, 2, 1, bias=False),  # 16 x 16
            nn.BatchNorm2d(128),
            nn.ReLU(True),
            nn.ConvTranspose2d(128, 64, 4, 2, 1, bias=False),  # 32 x 32
            nn.BatchNorm2d(64),
            nn.ReLU(True),
            nn.ConvTranspose2d(64, channels, 4, 2, 1),  # 64 x 64
            nn.Tanh(),
        )

    def forward(self, noise: Tensor) -> Tensor:
        return self.main(noise)


class Discriminator(nn.Module):
    def __init__(self, channels: int):
        super().__init__()
        self.main = nn.Sequential(
            nn.Conv2d(channels, 64, 4, 2, 1),  # 32 x 32
            nn.LeakyReLU(0.2, inplace=True),
            nn.Conv2d(64, 128, 4, 2, 1, bias=False),  # 16 x 16
            nn.BatchNorm2d(128),
            nn.LeakyReLU(0.2, inplace=True),
            nn.Conv2d(128, 256, 4, 2, 1, bias=False),  # 8 x 8
            nn.BatchNorm2d(256),
            nn.LeakyReLU(0.2, inplace=True),
            nn.Conv2d(256, 512, 4, 2, 1, bias=False),  # 4 x 4
            nn.BatchNorm2d(512),
            nn.LeakyReLU(0.2, inplace=True),
            nn.Conv2d(512, 1, 4, 1, 0),
            nn.Sigmoid(),
        )

    def forward(self, image: Tensor) -> Tensor:
        return self.main(image).view(-1)


def weights_init(layer: nn.Module) -> None:
    if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
        nn.init.normal_(layer.weight, 0.0, 0.02)
    elif isinstance(layer, nn.BatchNorm2d):
        nn.init.normal_(layer.weight, 1.0, 0.02)
        nn.init.zeros_(layer.bias)


def train(
    pictures: Callable[..., Any],  # transform=... -> a dataset of images and labels
    channels: int = 3,
    image_size: int = 64,
    latent_dim: int = 100,
    batch_size: int = 64,
    lr: float = 0.0002,
    betas: tuple[float, float] = (0.5, 0.999),
    device: str = "cpu",
    workers: int = 2,
) -> Iterator[tuple[float, float]]:
    """D's and G's loss after each step, for ever."""
    torch.backends.cudnn.benchmark = True
    dataset = pictures(
        transform=transforms.Compose(
            [
                transforms.Resize(image_size),
                transforms.CenterCrop(image_size),
                transforms.ToTensor(),
                transforms.Normalize([0.5] * channels, [0.5] * channels),
            ]
        )
    )
    loader = DataLoader(dataset, batch_size=batch_size, shuffle=True, num_workers=workers)

    net_g = Generator(latent_dim, channels).to(device)
    net_d = Discriminator(channels).to(device)
    net_g.apply(weights_init)
    net_d.apply(weights_init)
    criterion = nn.BCELoss()
    optimizer_d = torch.optim.Adam(net_d.parameters(), lr=lr, betas=betas)
    optimizer_g = torch.optim.Adam(net_g.parameters(), lr=lr, betas=betas)

    while True:
        for images, _ in loader:
            # D: maximise log D(x) + log(1 - D(G(z)))
            net_d.zero_grad()
            real = images.to(device)
            label = torch.full((real.size(0),), 1.0, device=device)
            err_d_real = criterion(net_d(real), label)
            err_d_real.backward()

            noise = torch.randn(real.size(0), latent_dim, 1, 1, device=device)
            fake = net_g(noise)
            label.fill_(0.0)
            err_d_fake = criterion(net_d(fake.detach()), label)
            err_d_fake.backward()
            optimizer_d.step()

            # G: maximise log D(G(z))
            net_g.zero_grad()
            label.fill_(1.0)
            err_g = criterion(net_d(fake), label)
            err_g.backward()
            optimizer_g.step()

            yield err_d_real.item() + err_d_fake.item(), err_g.item()  # where the tutorial prints them
