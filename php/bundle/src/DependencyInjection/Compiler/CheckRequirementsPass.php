<?php

declare(strict_types=1);

namespace Fervo\DeferredEventBundle\DependencyInjection\Compiler;

use Symfony\Component\DependencyInjection\Alias;
use Symfony\Component\DependencyInjection\Compiler\CompilerPassInterface;
use Symfony\Component\DependencyInjection\ContainerBuilder;
use Symfony\Component\DependencyInjection\Exception\LogicException;

/**
 * What the configuration asks of other bundles: is it there?
 *
 * @internal
 */
final class CheckRequirementsPass implements CompilerPassInterface
{
    public function process(ContainerBuilder $container): void
    {
        if (!$container->hasDefinition('fervo_deferred_event.outbox')) {
            return;
        }

        if ($container->getParameter('fervo_deferred_event.needs_kernel_secret') && !$container->hasParameter('kernel.secret')) {
            throw new LogicException('Deferred events are signed, and there is no secret: set "framework.secret", or "fervo_deferred_event.signing.secret".');
        }

        if (!$container->has('serializer')) {
            if ('json' === $container->getParameter('fervo_deferred_event.serializer')) {
                throw new LogicException('"fervo_deferred_event.serializer: json" needs Symfony\'s Serializer: run "composer require symfony/serializer-pack", and enable "framework.serializer".');
            }
            $container->removeDefinition('fervo_deferred_event.serializer.json');
        }

        // MonologBundle makes the channel's service later on, since the extension has asked for the channel.
        if ($container->hasExtension('monolog')) {
            $container->setAlias('fervo_deferred_event.logger', new Alias('monolog.logger.fervo', false));
        }
    }
}
