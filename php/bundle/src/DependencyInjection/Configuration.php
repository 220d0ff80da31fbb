<?php

declare(strict_types=1);

namespace Fervo\DeferredEventBundle\DependencyInjection;

use Fervo\DeferredEventBundle\DeferOptions;
use Fervo\DeferredEventBundle\SendMode;
use Symfony\Component\Config\Definition\Builder\ArrayNodeDefinition;
use Symfony\Component\Config\Definition\Builder\TreeBuilder;
use Symfony\Component\Config\Definition\ConfigurationInterface;

/** @internal */
final class Configuration implements ConfigurationInterface
{
    /** The types of `backend` whose queue is in the application's own database. */
    public const DATABASES = ['postgres', 'mysql'];

    /** Options of `backend` and the types that know them. */
    private const BACKEND_OPTIONS = [
        'path' => ['sqlite'],
        'busy_timeout_ms' => ['sqlite'],
        'dsn' => ['redis', 'beanstalkd'],
        'timeout_ms' => ['redis', 'beanstalkd'],
        'client' => ['redis'],
        'key_prefix' => ['redis'],
        'ca_file' => ['redis'],
        'ttr_ms' => ['beanstalkd'],
        'connection' => self::DATABASES,
        'table_prefix' => self::DATABASES,
        'service' => ['service'],
    ];

    private const BACKEND_REQUIRED = ['sqlite' => 'path', 'redis' => 'dsn', 'beanstalkd' => 'dsn', 'service' => 'service'];

    public function getConfigTreeBuilder(): TreeBuilder
    {
        $tree = new TreeBuilder('fervo_deferred_event');
        $root = $tree->getRootNode();

        $root
            ->children()
                ->append($this->backend())
                ->scalarNode('queue')
                    ->info('The queue of events that name none.')
                    ->defaultValue('default')->cannotBeEmpty()
                ->end()
                ->integerNode('attempts')
                    ->info('Tries in all, the first one included; null = what the worker\'s configuration says (with Redis: Sidekiq\'s default, retry = true).')
                    ->defaultNull()->min(1)->max(DeferOptions::MAX_INTEGER)
                ->end()
                ->append($this->options('events', 'Options of events, by the event\'s name, its class, a parent or an interface; what the code or an attribute says goes first.'))
                ->append($this->options('listeners', 'The same of deferred listeners, as "service::method".'))
                ->enumNode('send')
                    ->info('When events go to the queue: immediately, on_terminate (after the response), after_commit (of the default Doctrine connection\'s transaction; dropped at its rollback), transactional (by way of a table in your database, which a relay empties). With the backends postgres and mysql, immediately and after_commit are the same: an event is part of the transaction on the backend\'s connection.')
                    ->values(array_column(SendMode::cases(), 'value'))->defaultValue(SendMode::Immediately->value)
                ->end()
                ->arrayNode('transactional')->addDefaultsIfNotSet()
                    ->children()
                        ->scalarNode('connection')->info('The name of a Doctrine connection; null = the default one.')->defaultNull()->end()
                        ->scalarNode('table')
                            ->info('Make it with "fervo:relay --create-table", or by a migration.')
                            ->defaultValue('fervo_outbox')
                            ->validate()->ifTrue(static fn (mixed $name): bool => !\is_string($name) || 1 !== preg_match('/^[a-z_][a-z0-9_]{0,62}$/D', $name))->thenInvalid('The table %s is not valid: expected up to 63 characters of a-z, 0-9 and _, and no digit first.')->end()
                        ->end()
                    ->end()
                ->end()
                ->enumNode('on_failure')
                    ->info('When the queue cannot be reached: throw, or run the event at once in this process.')
                    ->values(['throw', 'run'])->defaultValue('throw')
                ->end()
                ->enumNode('serializer')
                    ->info('php: any event; json: with Symfony\'s Serializer, for events of plain data. Payloads of both are understood.')
                    ->values(['php', 'json'])->defaultValue('php')
                ->end()
                ->arrayNode('allowed_classes')
                    ->info('The classes of events and, with php, of all objects in them. Empty = any, as only this application can sign payloads.')
                    ->scalarPrototype()->end()
                ->end()
                ->arrayNode('context')
                    ->info('What of the request travels with each event, and is set around its listeners: host (scheme, host, ports and base URL, for absolute URLs), locale.')
                    ->beforeNormalization()->castToArray()->end()
                    ->enumPrototype()->values(['host', 'locale'])->end()
                ->end()
                ->arrayNode('signing')->addDefaultsIfNotSet()
                    ->children()
                        ->scalarNode('secret')->info('What signs payloads; null = kernel.secret.')->defaultNull()->end()
                        ->arrayNode('previous_secrets')
                            ->info('After a change of the secret: the old ones, until the queue holds none of their payloads.')
                            ->scalarPrototype()->cannotBeEmpty()->end()
                        ->end()
                    ->end()
                ->end()
                ->arrayNode('legacy')->addDefaultsIfNotSet()
                    ->children()
                        ->booleanNode('accept_unsigned')
                            ->info('UNSAFE: also take payloads of the bundle before version 1, which are not signed. Whoever can write to the queue can then have any class unserialized. Only until the old queue is empty.')
                            ->defaultFalse()
                        ->end()
                    ->end()
                ->end()
            ->end()
            ->validate()
                ->ifTrue(static fn (array $config): bool => 'run' === $config['on_failure'] && \in_array($config['backend']['type'], self::DATABASES, true))
                // A listener would run within the transaction that the failure may have ended.
                ->thenInvalid('With the backends "postgres" and "mysql", a failure is one of the application\'s own transaction, so "on_failure" has to be "throw".')
            ->end();

        return $tree;
    }

    private function options(string $name, string $info): ArrayNodeDefinition
    {
        $node = (new TreeBuilder($name))->getRootNode();
        $node->info($info)
            ->normalizeKeys(false)
            ->useAttributeAsKey('name')
            ->arrayPrototype()
                ->children()
                    ->scalarNode('queue')->defaultNull()->end()
                    ->floatNode('delay')->info('In seconds.')->defaultNull()->min(0)->end()
                    ->integerNode('attempts')->defaultNull()->min(1)->max(DeferOptions::MAX_INTEGER)->end()
                    ->integerNode('priority')->info('Higher runs first.')->defaultNull()->min(-DeferOptions::MAX_INTEGER)->max(DeferOptions::MAX_INTEGER)->end()
                ->end()
            ->end();

        return $node;
    }

    private function backend(): ArrayNodeDefinition
    {
        $node = (new TreeBuilder('backend'))->getRootNode();

        $node
            ->addDefaultsIfNotSet()
            ->children()
                ->enumNode('type')
                    ->info('Where events wait for the worker. immediate: nowhere, they run at once in this process. in-memory: nowhere, for tests.')
                    ->values(['immediate', 'in-memory', 'sqlite', 'redis', 'beanstalkd', ...self::DATABASES, 'service'])->defaultValue('immediate')
                ->end()
                ->scalarNode('path')->info('sqlite: the file, as in the worker\'s configuration, which creates it.')->end()
                ->integerNode('busy_timeout_ms')->info('sqlite: how long to wait for another process\'s lock. Default: 5000')->min(0)->end()
                ->scalarNode('dsn')->info('redis: redis://USER:PASSWORD@HOST:PORT/DB, rediss://… (TLS) or unix:///run/redis/redis.sock?db=0. beanstalkd: beanstalkd://HOST:PORT or unix:///run/beanstalkd.sock')->end()
                ->integerNode('timeout_ms')->info('redis, beanstalkd: how long connecting, and each answer, may take. Default: 2000')->min(1)->end()
                ->enumNode('client')->info('redis: phpredis, predis, or auto: the one that is there. Default: auto')->values(['auto', 'phpredis', 'predis'])->end()
                ->scalarNode('key_prefix')->info('redis: before the name of every key, as in the worker\'s configuration.')->end()
                ->scalarNode('ca_file')->info('redis: with TLS, a file of the certificates (PEM) to trust; default: those of the system.')->end()
                ->integerNode('ttr_ms')->info('beanstalkd: the jobs\' time to run, which the worker renews. Default: 60000')->min(1000)->end()
                ->scalarNode('connection')->info('postgres, mysql: the application\'s own connection: the name of a Doctrine connection, or the id of a service that is a connection of DBAL, or PDO. Default: Doctrine\'s default connection')->end()
                ->scalarNode('table_prefix')
                    ->info('postgres, mysql: before "jobs" in the name of the table, as in the worker\'s configuration. Default: fervo_')
                    ->validate()->ifTrue(static fn (mixed $prefix): bool => !\is_string($prefix) || 1 !== preg_match('/^[a-z_][a-z0-9_]{0,29}$/D', $prefix))->thenInvalid('The prefix %s is not valid: expected up to 30 characters of a-z, 0-9 and _, and no digit first.')->end()
                ->end()
                ->scalarNode('service')->info('service: the id of your Fervo\DeferredEventBundle\Backend\BackendInterface.')->end()
            ->end()
            // Of each file by itself: one for an environment may choose another type than the one it is laid over.
            ->beforeNormalization()
                ->ifArray()
                ->then(static function (array $backend): array {
                    $type = $backend['type'] ?? null;
                    foreach (self::BACKEND_OPTIONS as $option => $types) {
                        if (isset($type, $backend[$option]) && !\in_array($type, $types, true)) {
                            throw new \InvalidArgumentException(sprintf('The option "%s" is not for the backend "%s", but for %s.', $option, $type, implode(' and ', $types)));
                        }
                    }

                    return $backend;
                })
            ->end()
            ->validate()
                ->always(static function (array $backend): array {
                    $type = $backend['type'];
                    // Those that are left of the type that was overridden.
                    foreach (self::BACKEND_OPTIONS as $option => $types) {
                        if (!\in_array($type, $types, true)) {
                            unset($backend[$option]);
                        }
                    }
                    $required = self::BACKEND_REQUIRED[$type] ?? null;
                    if (null !== $required && '' === (string) ($backend[$required] ?? '')) {
                        throw new \InvalidArgumentException(sprintf('The backend "%s" needs the option "%s".', $type, $required));
                    }

                    return $backend;
                })
            ->end();

        return $node;
    }
}
