<?php

declare(strict_types=1);

namespace Fervo\DeferredEventBundle\DependencyInjection\Compiler;

use Fervo\DeferredEventBundle\Context\ContextCarrierInterface;
use Fervo\DeferredEventBundle\DependencyInjection\FervoDeferredEventExtension;
use Symfony\Component\DependencyInjection\Argument\ServiceClosureArgument;
use Symfony\Component\DependencyInjection\Compiler\CompilerPassInterface;
use Symfony\Component\DependencyInjection\Compiler\ServiceLocatorTagPass;
use Symfony\Component\DependencyInjection\ContainerBuilder;
use Symfony\Component\DependencyInjection\Exception\InvalidArgumentException;
use Symfony\Component\DependencyInjection\Exception\LogicException;
use Symfony\Component\DependencyInjection\Reference;

/**
 * Collects the carriers of context. The bundle's own are always there to read what is in the queue, and travel where the
 * configuration says so; an application's travel with each event.
 *
 * @internal
 */
final class ContextPass implements CompilerPassInterface
{
    public function process(ContainerBuilder $container): void
    {
        if (!$container->hasDefinition('fervo_deferred_event.context')) {
            return;
        }
        /** @var list<string> $captured */
        $captured = $container->getParameter('fervo_deferred_event.context');
        if (!$container->has('router.request_context')) {
            if (\in_array('host', $captured, true)) {
                throw new LogicException('"fervo_deferred_event.context: [host]" needs Symfony\'s router: enable "framework.router".');
            }
            $container->removeDefinition('fervo_deferred_event.context.host');
        }

        $carriers = [];
        foreach ($container->findTaggedServiceIds(FervoDeferredEventExtension::CARRIER_TAG, true) as $id => $tags) {
            $class = $container->getParameterBag()->resolveValue($container->getDefinition($id)->getClass());
            if (!\is_string($class) || !is_subclass_of($class, ContextCarrierInterface::class)) {
                throw new InvalidArgumentException(sprintf('The service "%s" with the tag "%s" is no %s.', $id, FervoDeferredEventExtension::CARRIER_TAG, ContextCarrierInterface::class));
            }
            $name = $class::name();
            if (isset($carriers[$name])) {
                throw new InvalidArgumentException(sprintf('The context "%s" has two carriers: "%s" and "%s".', $name, $carriers[$name], $id));
            }
            $carriers[$name] = new Reference($id);
            if (!str_starts_with($id, 'fervo_deferred_event.')) {
                $captured[] = $name;
            }
        }
        $container->getDefinition('fervo_deferred_event.context')
            ->setArguments([ServiceLocatorTagPass::register($container, $carriers), $captured]);
        if ([] !== $captured) {
            $container->getDefinition('fervo_dispatch.queue')->setArgument('$context', new Reference('fervo_deferred_event.context'));
        }
        $command = $container->getDefinition('fervo_deferred_event.command.debug');
        $command->setArgument('$settings', $command->getArgument('$settings') + ['Context' => implode(', ', $captured) ?: 'none']);
        $container->getDefinition('fervo_deferred_event.payload_dispatcher')
            ->setArgument('$context', new ServiceClosureArgument(new Reference('fervo_deferred_event.context')));
    }
}
