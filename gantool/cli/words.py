"""What other GAN trainers call a setting or an option, and what it is here: for the sentence behind an unknown one."""

_SAID = {
    "steps=... (updates of G) or images=... (real images shown to D)": "epoch epochs kimg max_epochs n_epochs nepoch "
    "niter num_epochs",
    "steps=...": "iter iterations iters max_iter max_iterations max_steps n_iter num_iterations num_steps total_steps",
    "minutes=...": "hours max_time time",
    "batch_size=...": "batch batchsize bs train_batch_size",
    "optimizer.generator.lr=... and optimizer.discriminator.lr=...": "learning_rate",
    "optimizer.generator.lr=...": "g_lr glr lr_g lr_gen",
    "optimizer.discriminator.lr=...": "d_lr dlr lr_d lr_disc",
    "optimizer.generator.betas=... and optimizer.discriminator.betas=... (of optimizer=adam)": "adam_beta1 b1 b2 "
    "beta1 beta2",
    "optimizer=...": "optim",
    "update.discriminator_steps=...": "critic_iters critic_iterations critic_steps d_steps d_updates k n_critic n_dis "
    "num_critic num_d_steps",
    "architecture.latent_dim=...": "latent latent_size noise_dim nz z_dim z_size zdim",
    "architecture.generator.features=...": "g_features gf_dim ngf",
    "architecture.discriminator.features=...": "d_features df_dim ndf",
    "architecture.class_conditional=true": "class_cond conditional",
    "architecture=...": "arch backbone model net netD netG network",
    "objective=... or experiment=...": "criterion gan gan_loss gan_mode gan_type loss loss_fn",
    "trick.gradient_penalty.weight=... with trick=[gradient_penalty]": "gp gp_lambda gp_weight lambda_gp",
    "trick=[gradient_penalty] trick.gradient_penalty.kind=r1": "r1 r1_gamma r1_reg",
    "trick.weight_clipping.c=... with trick=[weight_clipping]": "clip clip_value weight_clip",
    "trick.label_smoothing.real=... with trick=[label_smoothing]": "real_label smoothing",
    "dataset.resolution=...": "img_size image_size imageSize imsize",
    "dataset.channels=...": "img_channels n_channels nc num_channels",
    "dataset.flip=...": "hflip mirror random_flip",
    "dataset=folder dataset.path=...": "data_dir data_path data_root dataroot image_folder images_folder",
    "labels=... (examples that keep their label)": "n_labeled num_labeled",
    "threads=...": "cpus n_cpu num_threads num_workers workers",
    "device=...": "accelerator cuda devices gpu gpu_id gpu_ids gpus ngpu",
    "precision=...": "amp bf16 fp16 half mixed_precision",
    "seed=...": "manualSeed manual_seed random_seed random_state",
    "hydra.run.dir=...": "exp_name log_dir logdir out out_dir outdir outf output_dir run_dir save_dir",
    "resume=...": "ckpt load netG_path pretrained restore resume_from",
    "sample_every=...": "sample_interval save_image_every",
    "checkpoint_every=...": "ckpt_every save_every save_interval snap",
    "tick_every=...": "log_every log_interval print_every",
    "logger=[...]": "comet log_to loggers use_wandb wandb",
    "evaluate_every=... with metric=[...]": "eval_every eval_interval eval_metrics metrics",
}  # fmt: skip
MEANT = {word: setting for setting, words in _SAID.items() for word in words.split()}

_NAMED = {  # options, in small letters without - and _
    "auxiliary_classifier": "acgan",
    "feature_matching": "fm",
    "f_gan": "fgan kl js",
    "info": "infogan",
    "least_squares": "ls lsgan mse",
    "non_saturating": "bce gan ns nsgan standard vanilla",
    "relativistic": "ragan rgan rsgan",
    "semi_supervised": "sgan ssgan",
    "gradient_penalty": "dragan gp r1 r2",
    "adaptive_augment": "ada",
    "diff_augment": "diffaug diffaugment",
    "minibatch_stddev": "mbstd",
    "spectral_norm": "sn spectral",
    "folder": "custom imagefolder images",
    "ring": "8gaussians",
    "grid": "25gaussians",
}
OPTION = {word: option for option, words in _NAMED.items() for word in words.split()}
