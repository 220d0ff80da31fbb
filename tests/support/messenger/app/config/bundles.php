<?php

declare(strict_types=1);

use Doctrine\Bundle\DoctrineBundle\DoctrineBundle;
use Fervo\DeferredEventBundle\FervoDeferredEventBundle;
use Symfony\Bundle\FrameworkBundle\FrameworkBundle;

return [
    FrameworkBundle::class => ['all' => true],
    // Debian does not package it: see src/Doctrine.
    ...(class_exists(DoctrineBundle::class) ? [DoctrineBundle::class => ['all' => true]] : []),
    // The application that messenger:consume runs does not have it.
    ...(class_exists(FervoDeferredEventBundle::class) ? [FervoDeferredEventBundle::class => ['all' => true]] : []),
];
