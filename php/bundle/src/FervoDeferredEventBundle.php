<?php

declare(strict_types=1);

namespace Fervo\DeferredEventBundle;

use Fervo\DeferredEventBundle\DependencyInjection\Compiler\CheckRequirementsPass;
use Fervo\DeferredEventBundle\DependencyInjection\Compiler\ContextPass;
use Fervo\DeferredEventBundle\DependencyInjection\Compiler\DeferredListenerPass;
use Fervo\DeferredEventBundle\DependencyInjection\Compiler\DoctrinePass;
use Fervo\DeferredEventBundle\DependencyInjection\Compiler\MessengerPass;
use Fervo\DeferredEventBundle\DependencyInjection\Compiler\WorkerConfigPass;
use Symfony\Component\DependencyInjection\Compiler\PassConfig;
use Symfony\Component\DependencyInjection\ContainerBuilder;
use Symfony\Component\HttpKernel\Bundle\Bundle;

final class FervoDeferredEventBundle extends Bundle
{
    public function build(ContainerBuilder $container): void
    {
        $container->addCompilerPass(new CheckRequirementsPass());
        $container->addCompilerPass(new DeferredListenerPass());
        $container->addCompilerPass(new ContextPass());
        $container->addCompilerPass(new MessengerPass());
        // When Symfony's pass has found the handlers.
        $container->addCompilerPass(new WorkerConfigPass(), PassConfig::TYPE_BEFORE_OPTIMIZATION, -10);
        // Before DoctrineBundle hands the middlewares to its connections.
        $container->addCompilerPass(new DoctrinePass(), PassConfig::TYPE_BEFORE_OPTIMIZATION, 10);
    }

    public function getPath(): string
    {
        return \dirname(__DIR__);
    }
}
