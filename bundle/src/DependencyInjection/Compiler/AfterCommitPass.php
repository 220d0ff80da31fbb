<?php

declare(strict_types=1);

namespace Fervo\DeferredEventBundle\DependencyInjection\Compiler;

use Symfony\Component\DependencyInjection\Compiler\CompilerPassInterface;
use Symfony\Component\DependencyInjection\ContainerBuilder;
use Symfony\Component\DependencyInjection\Exception\LogicException;

/**
 * `send: after_commit`: watches the transactions of Doctrine's default connection.
 *
 * @internal
 */
final class AfterCommitPass implements CompilerPassInterface
{
    public function process(ContainerBuilder $container): void
    {
        if (!$container->hasDefinition('fervo_deferred_event.outbox')) {
            return;
        }
        if (!$container->hasParameter('fervo_deferred_event.after_commit')) {
            $container->removeDefinition('fervo_deferred_event.transactions');
            $container->removeDefinition('fervo_deferred_event.transaction_middleware');

            return;
        }
        if (!$container->hasParameter('doctrine.default_connection')) {
            throw new LogicException('"fervo_deferred_event.send: after_commit" needs DoctrineBundle with a connection ("doctrine.dbal"); without it, "on_terminate" is the next best.');
        }
        $container->getDefinition('fervo_deferred_event.transaction_middleware')
            ->addTag('doctrine.middleware', ['connection' => $container->getParameter('doctrine.default_connection')]);
    }
}
