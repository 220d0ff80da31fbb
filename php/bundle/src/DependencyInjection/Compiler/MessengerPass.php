<?php

declare(strict_types=1);

namespace Fervo\DeferredEventBundle\DependencyInjection\Compiler;

use Fervo\DeferredEventBundle\Messenger\RecordedSenders;
use Fervo\DeferredEventBundle\Messenger\Transport;
use Symfony\Component\DependencyInjection\Argument\ServiceClosureArgument;
use Symfony\Component\DependencyInjection\Compiler\CompilerPassInterface;
use Symfony\Component\DependencyInjection\Compiler\ServiceLocatorTagPass;
use Symfony\Component\DependencyInjection\ContainerBuilder;
use Symfony\Component\DependencyInjection\Definition;
use Symfony\Component\DependencyInjection\Reference;
use Symfony\Component\Messenger\EventListener\SendFailedMessageForRetryListener;
use Symfony\Component\Messenger\EventListener\SendFailedMessageToFailureTransportListener;

/**
 * Where Messenger is enabled: the worker gets the serializers of its transports, and its listeners' copies for the next attempt. Only the
 * senders of these two listeners change: what a handler dispatches goes its usual way.
 *
 * @internal
 */
final class MessengerPass implements CompilerPassInterface
{
    private const RETRY_LISTENER = 'messenger.retry.send_failed_message_for_retry_listener';

    /** Not there where no transport has a failure transport. */
    private const FAILURE_LISTENER = 'messenger.failure.send_failed_message_to_failure_transport_listener';

    public function process(ContainerBuilder $container): void
    {
        if (!$container->hasDefinition('fervo_deferred_event.messenger.runner')) {
            return;
        }
        if (!$container->has(self::RETRY_LISTENER)) {
            foreach (['signer', 'codec', 'transport_factory', 'transports', 'facts', 'recorder', 'runner'] as $name) {
                $container->removeDefinition('fervo_deferred_event.messenger.'.$name);
            }

            return;
        }

        $serializers = $transports = $failure = [];
        foreach ($container->findTaggedServiceIds('messenger.receiver') as $id => $tags) {
            // As FrameworkBundle makes a transport: its DSN, its options, its serializer.
            $arguments = array_values($container->getDefinition($id)->getArguments());
            foreach ($tags as $tag) {
                $name = $tag['alias'] ?? $id;
                if ($tag['is_failure_transport'] ?? false) {
                    $failure[] = (string) $name;
                }
                $serializers[$name] = ($arguments[2] ?? null) instanceof Reference ? $arguments[2] : new Reference('messenger.default_serializer');
                if (\is_string($arguments[0] ?? null)) {
                    $transports[$name] = self::register($container, 'transport.'.$name, Transport::class, [$name, $arguments[0], \is_array($arguments[1] ?? null) ? $arguments[1] : []]);
                }
            }
        }
        $container->getDefinition('fervo_deferred_event.messenger.runner')
            ->setArgument('$serializers', ServiceLocatorTagPass::register($container, $serializers));

        foreach ([self::RETRY_LISTENER => SendFailedMessageForRetryListener::class, self::FAILURE_LISTENER => SendFailedMessageToFailureTransportListener::class] as $id => $class) {
            $listener = $container->hasDefinition($id) ? $container->getDefinition($id) : null;
            // The application may have one of its own there, which tells by the event what it does.
            if (null !== $listener && is_a((string) $listener->getClass(), $class, true) && \array_key_exists(0, $listener->getArguments())) {
                $listener->replaceArgument(0, new Definition(RecordedSenders::class, [$listener->getArgument(0), new Reference('fervo_deferred_event.messenger.recorder'), self::RETRY_LISTENER === $id]));
            }
        }

        $runner = new ServiceClosureArgument(new Reference('fervo_deferred_event.messenger.runner'));
        foreach (['runner', 'payload_dispatcher', 'backend.in_memory'] as $name) {
            $container->getDefinition('fervo_deferred_event.'.$name)->setArgument('$messages', $runner);
        }
        $container->getDefinition('fervo_deferred_event.messenger.transports')->setArguments([
            ServiceLocatorTagPass::register($container, $transports),
            ServiceLocatorTagPass::register($container, self::lockStores($container)),
            $failure,
        ]);
        $container->getDefinition('fervo_deferred_event.runner')
            ->setArgument('$facts', new ServiceClosureArgument(new Reference('fervo_deferred_event.messenger.facts')));
        $container->getDefinition('fervo_deferred_event.command.debug')
            ->setArgument('$transports', new ServiceClosureArgument(new Reference('fervo_deferred_event.messenger.transports')));
    }

    /**
     * FrameworkBundle makes a store of the DSN that "framework.lock" names. A DSN may be a variable, so it is read when it is asked for.
     *
     * @return array<string, Reference>
     */
    private static function lockStores(ContainerBuilder $container): array
    {
        $stores = [];
        foreach ($container->getDefinitions() as $id => $definition) {
            if (str_starts_with($id, '.lock.default.store.') && null !== $definition->getFactory()) {
                $store = $definition->getArguments()[0] ?? null;
                $name = 'lock_store.'.\count($stores);
                $stores[$name] = self::register($container, $name, \ArrayObject::class, [[\is_string($store) ? $store : '']]);
            }
        }

        return $stores;
    }

    /** @param list<mixed> $arguments */
    private static function register(ContainerBuilder $container, string $name, string $class, array $arguments): Reference
    {
        $id = 'fervo_deferred_event.messenger.'.$name;
        $container->setDefinition($id, new Definition($class, $arguments));

        return new Reference($id);
    }
}
