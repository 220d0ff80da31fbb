<?php

declare(strict_types=1);

namespace App;

use Symfony\Bundle\FrameworkBundle\Kernel\MicroKernelTrait;
use Symfony\Component\HttpKernel\Kernel as BaseKernel;

class Kernel extends BaseKernel
{
    use MicroKernelTrait;

    /** Without this method, Symfony searches for composer.json at each boot. */
    public function getProjectDir(): string
    {
        return \dirname(__DIR__);
    }
}
