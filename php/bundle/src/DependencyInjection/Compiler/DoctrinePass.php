<?php

declare(strict_types=1);

namespace Fervo\DeferredEventBundle\DependencyInjection\Compiler;

use Fervo\DeferredEventBundle\Doctrine\OpenTransactions;
use Symfony\Component\DependencyInjection\Argument\IteratorArgument;
use Symfony\Component\DependencyInjection\Argument\ServiceClosureArgument;
use Symfony\Component\DependencyInjection\Compiler\CompilerPassInterface;
use Symfony\Component\DependencyInjection\ContainerBuilder;
use Symfony\Component\DependencyInjection\ContainerInterface;
use Symfony\Component\DependencyInjection\Definition;
use Symfony\Component\DependencyInjection\Exception\LogicException;
use Symfony\Component\DependencyInjection\Reference;

/**
 * Where there is DoctrineBundle: the worker looks for transactions that a job has left open, on all connections, and
 * `send: after_commit` watches the transactions of the default one. The backends `postgres` and `mysql` get their connection here.
 *
 * @internal
 */
final class DoctrinePass implements CompilerPassInterface
{
    public function process(ContainerBuilder $container): void
    {
        if (!$container->hasDefinition('fervo_deferred_event.outbox')) {
            return;
        }
        /** @var array<string, string> $ids */
        $ids = $container->hasParameter('doctrine.connections') ? $container->getParameter('doctrine.connections') : [];
        if ($container->hasParameter('fervo_deferred_event.backend_connection')) {
            $id = $this->backendConnection($container, $ids);
            $container->getDefinition('fervo_deferred_event.backend')->setArgument('$connection', new ServiceClosureArgument(new Reference($id)));
            $ids += \in_array($id, $ids, true) ? [] : [$id => $id];
        }
        if ([] !== $ids) {
            // A job pays for none that it has not used.
            $used = array_map(static fn (string $id): Reference => new Reference($id, ContainerInterface::IGNORE_ON_UNINITIALIZED_REFERENCE), $ids);
            $container->getDefinition('fervo_deferred_event.job_boundary')
                ->setArgument('$openTransactions', new Definition(OpenTransactions::class, [new IteratorArgument($used)]));
        }
        $this->registerTable($container);

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

    /**
     * Of the backends `postgres` and `mysql`.
     *
     * @param array<string, string> $ids of Doctrine's connections, by their names
     *
     * @return string the id of its service
     */
    private function backendConnection(ContainerBuilder $container, array $ids): string
    {
        /** @var array{type: string, connection: string|null} $backend */
        $backend = $container->getParameter('fervo_deferred_event.backend_connection');
        /** @var string|null $name */
        $name = $backend['connection'] ?? ($container->hasParameter('doctrine.default_connection') ? $container->getParameter('doctrine.default_connection') : null);
        if (null === $name) {
            throw new LogicException(sprintf('The backend "%s" needs DoctrineBundle with a connection ("doctrine.dbal"); without it, set the option "connection" to the id of a service that is a connection of DBAL, or PDO.', $backend['type']));
        }

        return $ids[$name] ?? ($container->has($name) ? $name : throw new LogicException(sprintf('The backend "%s" has the option "connection" with "%s", which is neither a connection of DoctrineBundle (there is %s) nor a service.', $backend['type'], $name, [] === $ids ? 'none' : '"'.implode('", "', array_keys($ids)).'"')));
    }

    /** `send: transactional`. */
    private function registerTable(ContainerBuilder $container): void
    {
        if (!$container->hasParameter('fervo_deferred_event.transactional')) {
            foreach (['outbox_table', 'schema_listener', 'relay', 'command.relay'] as $name) {
                $container->removeDefinition('fervo_deferred_event.'.$name);
            }

            return;
        }
        /** @var array{connection: string|null, table: string} $config */
        $config = $container->getParameter('fervo_deferred_event.transactional');
        /** @var array<string, string> $ids */
        $ids = $container->hasParameter('doctrine.connections') ? $container->getParameter('doctrine.connections') : [];
        /** @var string|null $name */
        $name = $config['connection'] ?? ($container->hasParameter('doctrine.default_connection') ? $container->getParameter('doctrine.default_connection') : null);
        if (null === $name || !isset($ids[$name])) {
            throw new LogicException(sprintf('"fervo_deferred_event.send: transactional" needs DoctrineBundle with the connection "%s" ("doctrine.dbal"); there is %s.', $name ?? 'default', [] === $ids ? 'none' : '"'.implode('", "', array_keys($ids)).'"'));
        }
        $container->getDefinition('fervo_deferred_event.outbox_table')
            ->setArguments([new ServiceClosureArgument(new Reference($ids[$name])), $config['table']]);
        $container->getDefinition('fervo_deferred_event.outbox')->setArgument('$table', new Reference('fervo_deferred_event.outbox_table'));
        $container->getDefinition('fervo_deferred_event.payload_dispatcher')->setArgument('$relay', new ServiceClosureArgument(new Reference('fervo_deferred_event.relay')));
        if ($container->hasParameter('doctrine.entity_managers')) {
            $container->getDefinition('fervo_deferred_event.schema_listener')->addTag('doctrine.event_listener', ['event' => 'postGenerateSchema']);
        } else {
            $container->removeDefinition('fervo_deferred_event.schema_listener');
        }
    }
}
