<?php

declare(strict_types=1);

namespace Fervo\DeferredEventBundle\DependencyInjection;

use Fervo\DeferredEventBundle\Attribute\AsDeferredListener;
use Fervo\DeferredEventBundle\Backend\BackendInterface;
use Fervo\DeferredEventBundle\Backend\BeanstalkdBackend;
use Fervo\DeferredEventBundle\Backend\DatabaseBackend;
use Fervo\DeferredEventBundle\Backend\RedisBackend;
use Fervo\DeferredEventBundle\Backend\SqliteBackend;
use Fervo\DeferredEventBundle\Context\ContextCarrierInterface;
use Fervo\DeferredEventBundle\DeferOptions;
use Fervo\DeferredEventBundle\Event\TryEvent;
use Fervo\DeferredEventBundle\Payload\LegacyPayload;
use Fervo\DeferredEventBundle\Payload\Signer;
use Fervo\DeferredEventBundle\SendMode;
use Symfony\Component\Config\FileLocator;
use Symfony\Component\DependencyInjection\Alias;
use Symfony\Component\DependencyInjection\Argument\AbstractArgument;
use Symfony\Component\DependencyInjection\Argument\ServiceClosureArgument;
use Symfony\Component\DependencyInjection\ChildDefinition;
use Symfony\Component\DependencyInjection\ContainerBuilder;
use Symfony\Component\DependencyInjection\Definition;
use Symfony\Component\DependencyInjection\Extension\Extension;
use Symfony\Component\DependencyInjection\Extension\PrependExtensionInterface;
use Symfony\Component\DependencyInjection\Loader\PhpFileLoader;
use Symfony\Component\DependencyInjection\Reference;
use Symfony\Component\Messenger\Transport\TransportFactoryInterface;

/** @internal */
final class FervoDeferredEventExtension extends Extension implements PrependExtensionInterface
{
    public const LISTENER_TAG = 'fervo_deferred_event.listener';
    public const CARRIER_TAG = 'fervo_deferred_event.context_carrier';

    public function prepend(ContainerBuilder $container): void
    {
        if ($container->hasExtension('monolog')) {
            $container->prependExtensionConfig('monolog', ['channels' => ['fervo']]);
        }
    }

    public function load(array $configs, ContainerBuilder $container): void
    {
        $config = $this->processConfiguration(new Configuration(), $configs);
        $loader = new PhpFileLoader($container, new FileLocator(\dirname(__DIR__, 2).'/config'));
        $loader->load('services.php');
        if (interface_exists(TransportFactoryInterface::class)) {
            $loader->load('messenger.php');
            $container->getDefinition('fervo_deferred_event.messenger.transport_factory')
                ->setArgument('$defaults', new Definition(DeferOptions::class, [null, $config['queue'], null, $config['attempts']]));
        }

        $this->registerBackend($config['backend'], $container);
        $this->registerOutbox($config, $container);
        $this->registerPayload($config, $container);
        $this->registerAttribute($container);
        $container->setParameter('fervo_deferred_event.context', array_values(array_unique($config['context'])));
        $container->registerForAutoconfiguration(ContextCarrierInterface::class)->addTag(self::CARRIER_TAG);

        $container->getDefinition('fervo_deferred_event.configured_options')
            ->setArgument('$defaults', new Definition(DeferOptions::class, [null, $config['queue'], null, $config['attempts']]))
            ->setArgument('$configured', array_map(self::optionsOf(...), $config['events'] + $config['listeners']));

        // For people. Without the backend's DSN, which may hold a password.
        $settings = [
            'Backend' => $config['backend']['type'].(self::hasDatabase($config) ? sprintf(', the table %sjobs of %s', self::tablePrefix($config['backend']), isset($config['backend']['connection']) ? sprintf('the connection "%s"', $config['backend']['connection']) : 'the default connection') : ''),
            'Queue' => $config['queue'],
            'Attempts' => $config['attempts'] ?? 'as the worker\'s configuration says',
            'Send' => $config['send'].(self::hasDatabase($config) && SendMode::AfterCommit->value === $config['send'] ? ', by the transaction of the backend\'s connection' : ''),
            'On failure' => $config['on_failure'],
            'Serializer' => $config['serializer'],
            'Allowed classes' => implode(', ', $config['allowed_classes']) ?: 'any',
            'Signed with' => null === $config['signing']['secret'] ? 'kernel.secret' : 'signing.secret',
            'Previous secrets' => \count($config['signing']['previous_secrets']),
            'Unsigned payloads' => $config['legacy']['accept_unsigned'] ? 'ACCEPTED (unsafe)' : 'refused',
        ];
        $container->getDefinition('fervo_deferred_event.command.debug')
            ->setArgument('$settings', $settings)
            ->setArgument('$path', $config['backend']['path'] ?? null)
            ->setArgument('$dsn', $config['backend']['dsn'] ?? null);
        if ($container->getParameter('kernel.debug')) {
            $loader->load('debug.php');
            $container->getDefinition('fervo_deferred_event.data_collector')->setArgument('$settings', $settings);
            $container->getDefinition('fervo_deferred_event.outbox')->setArgument('$log', new Reference('fervo_deferred_event.deferral_log'));
        }
    }

    /** @param array{delay: int|float|null, queue: string|null, priority: int|null, attempts: int|null} $options */
    private static function optionsOf(array $options): Definition
    {
        // A mistake is told when the container is built.
        new DeferOptions($options['delay'], $options['queue'], $options['priority'], $options['attempts']);

        return new Definition(DeferOptions::class, [$options['delay'], $options['queue'], $options['priority'], $options['attempts']]);
    }

    /**
     * @param array{type: 'immediate'|'in-memory'}|array{type: 'service', service: string}|array{type: 'sqlite', path: string, busy_timeout_ms?: int}|array{type: 'redis', dsn: string, timeout_ms?: int, client?: string, key_prefix?: string, ca_file?: string}|array{type: 'beanstalkd', dsn: string, timeout_ms?: int, ttr_ms?: int}|array{type: 'postgres'|'mysql', connection?: string|null, table_prefix?: string} $config
     */
    private function registerBackend(array $config, ContainerBuilder $container): void
    {
        if ('service' === $config['type']) {
            $container->setAlias('fervo_deferred_event.backend', $config['service']);
        } else {
            $container->setDefinition('fervo_deferred_event.backend', match ($config['type']) {
                'immediate' => new ChildDefinition('fervo_deferred_event.backend.immediate'),
                // Public, for tests: a private service may be inlined.
                'in-memory' => (new ChildDefinition('fervo_deferred_event.backend.in_memory'))->setPublic(true),
                'sqlite' => new Definition(SqliteBackend::class, [$config['path'], $config['busy_timeout_ms'] ?? 5000]),
                'redis' => new Definition(RedisBackend::class, [
                    $config['dsn'],
                    $config['key_prefix'] ?? '',
                    $config['client'] ?? 'auto',
                    $config['timeout_ms'] ?? 2000,
                    $config['ca_file'] ?? null,
                ]),
                'beanstalkd' => new Definition(BeanstalkdBackend::class, [$config['dsn'], $config['ttr_ms'] ?? 60000, $config['timeout_ms'] ?? 2000]),
                'postgres', 'mysql' => (new Definition(DatabaseBackend::class))
                    ->setArgument('$server', $config['type'])
                    ->setArgument('$connection', new AbstractArgument('set by DoctrinePass'))
                    ->setArgument('$tablePrefix', self::tablePrefix($config)),
            });
        }
        if (\in_array($config['type'], Configuration::DATABASES, true)) {
            $container->setParameter('fervo_deferred_event.backend_connection', ['type' => $config['type'], 'connection' => $config['connection'] ?? null]);
        }
        $container->setAlias(BackendInterface::class, new Alias('fervo_deferred_event.backend'));
    }

    /** @param array<string, mixed> $config of the whole bundle */
    private static function hasDatabase(array $config): bool
    {
        return \in_array($config['backend']['type'], Configuration::DATABASES, true);
    }

    /** @param array<string, mixed> $backend */
    private static function tablePrefix(array $backend): string
    {
        return $backend['table_prefix'] ?? 'fervo_';
    }

    /** @param array<string, mixed> $config */
    private function registerOutbox(array $config, ContainerBuilder $container): void
    {
        $mode = SendMode::from($config['send']);
        if (SendMode::AfterCommit === $mode && self::hasDatabase($config)) {
            // The row of an event is part of the transaction, so the database itself shows it after the commit, and only then.
            $mode = SendMode::Immediately;
        }
        $outbox = $container->getDefinition('fervo_deferred_event.outbox');
        // As an expression of the container, for 5.4 cannot dump enums in all places.
        $outbox->setArgument('$type', $config['backend']['type']);
        $outbox->setArgument('$mode', (new Definition(SendMode::class, [$mode->value]))->setFactory([SendMode::class, 'from']));
        if ('run' === $config['on_failure']) {
            $outbox->setArgument('$fallback', new ServiceClosureArgument(new Reference('fervo_deferred_event.backend.immediate')));
        }
        if (SendMode::AfterCommit === $mode) {
            $outbox->setArgument('$transactions', new Reference('fervo_deferred_event.transactions'));
            $container->setParameter('fervo_deferred_event.after_commit', true);
        }
        if (SendMode::Transactional === $mode) {
            $container->setParameter('fervo_deferred_event.transactional', $config['transactional']);
        }
        if (SendMode::Immediately === $mode) {
            $container->removeDefinition('fervo_deferred_event.terminate_listener');
        }
    }

    /** @param array<string, mixed> $config */
    private function registerPayload(array $config, ContainerBuilder $container): void
    {
        $secrets = [$config['signing']['secret'] ?? '%kernel.secret%', $config['signing']['previous_secrets']];
        $container->getDefinition('fervo_deferred_event.signer')->setArguments($secrets);
        if ($container->hasDefinition('fervo_deferred_event.messenger.signer')) {
            $container->getDefinition('fervo_deferred_event.messenger.signer')->setArguments([...$secrets, Signer::MESSAGE]);
        }
        $container->setParameter('fervo_deferred_event.needs_kernel_secret', null === $config['signing']['secret']);
        $container->setParameter('fervo_deferred_event.serializer', $config['serializer']);
        // Where they are listed, `fervo:try` goes on working.
        $allowedClasses = [] === $config['allowed_classes'] ? [] : [...$config['allowed_classes'], TryEvent::class];
        $container->getDefinition('fervo_deferred_event.serializer.php')->setArguments([$allowedClasses]);
        $codec = $container->getDefinition('fervo_deferred_event.codec')
            ->setArgument('$format', $config['serializer'])
            ->setArgument('$allowedClasses', $allowedClasses);
        if ($config['legacy']['accept_unsigned']) {
            $codec->setArgument('$legacy', new Definition(LegacyPayload::class, [new Reference('fervo_deferred_event.serializer.php')]));
        }
    }

    private function registerAttribute(ContainerBuilder $container): void
    {
        $container->registerAttributeForAutoconfiguration(AsDeferredListener::class, static function (ChildDefinition $definition, AsDeferredListener $attribute, \ReflectionClass|\ReflectionMethod $target): void {
            $method = $attribute->method;
            if ($target instanceof \ReflectionMethod) {
                if (null !== $method) {
                    throw new \LogicException(sprintf('#[AsDeferredListener] on the method "%s::%s()" cannot name a method.', $target->class, $target->name));
                }
                $method = $target->name;
            }
            $definition->addTag(self::LISTENER_TAG, array_filter([
                'event' => $attribute->event,
                'method' => $method,
                'priority' => $attribute->priority,
                'delay' => $attribute->delay,
                'queue' => $attribute->queue,
                'job_priority' => $attribute->jobPriority,
                'attempts' => $attribute->attempts,
                'dispatcher' => $attribute->dispatcher,
            ], static fn (mixed $value): bool => null !== $value));
        });
    }
}
