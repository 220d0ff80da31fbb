<?php

declare(strict_types=1);

namespace Fervo\DeferredEventBundle\DependencyInjection\Compiler;

use Fervo\DeferredEventBundle\Messenger\Config\OptionTable;
use Fervo\DeferredEventBundle\Messenger\Config\TransportSettings;
use Symfony\Component\DependencyInjection\Argument\IteratorArgument;
use Symfony\Component\DependencyInjection\ChildDefinition;
use Symfony\Component\DependencyInjection\Compiler\CompilerPassInterface;
use Symfony\Component\DependencyInjection\Compiler\ServiceLocatorTagPass;
use Symfony\Component\DependencyInjection\ContainerBuilder;
use Symfony\Component\DependencyInjection\Definition;
use Symfony\Component\DependencyInjection\Exception\ExceptionInterface;
use Symfony\Component\DependencyInjection\Reference;
use Symfony\Component\Messenger\Handler\BatchHandlerInterface;

/**
 * Collects for `fervo:worker:config` what only the container's definitions know of the transports. Runs after MessengerPass of Symfony,
 * which finds the handlers.
 *
 * @internal
 */
final class WorkerConfigPass implements CompilerPassInterface
{
    private const RETRY_STRATEGY = 'messenger.retry.multiplier_retry_strategy.';

    public function process(ContainerBuilder $container): void
    {
        if (!$container->hasDefinition('fervo_deferred_event.messenger.transports')) {
            $container->removeDefinition('fervo_deferred_event.messenger.worker_config');
            $container->removeDefinition('fervo_deferred_event.command.worker_config');

            return;
        }
        $batchHandlers = self::batchHandlers($container);
        $limiters = self::limiters($container);
        $settings = [];
        foreach ($container->findTaggedServiceIds('messenger.receiver') as $id => $tags) {
            foreach ($tags as $tag) {
                $name = $tag['alias'] ?? $id;
                $strategy = $container->hasDefinition(self::RETRY_STRATEGY.$name) ? $container->getDefinition(self::RETRY_STRATEGY.$name) : null;
                $limiter = $limiters[$name] ?? null;
                $settings[$name] = new Definition(TransportSettings::class, [
                    (bool) ($tag['is_failure_transport'] ?? false),
                    $strategy instanceof ChildDefinition && \is_int($max = $strategy->getArguments()['index_0'] ?? null) ? $max : null,
                    $limiter,
                    null === $limiter ? null : self::limiterConfig($container, $limiter),
                    $batchHandlers[$name] ?? [],
                ]);
            }
        }
        /** @var array<string, string> $ids */
        $ids = $container->hasParameter('doctrine.connections') ? $container->getParameter('doctrine.connections') : [];
        $container->getDefinition('fervo_deferred_event.messenger.worker_config')
            ->setArgument('$settings', $settings)
            ->setArgument('$connections', ServiceLocatorTagPass::register($container, array_map(static fn (string $id): Reference => new Reference($id), $ids)))
            ->setArgument('$variables', array_map(static fn (string $id): array => self::variables($container, $id), $ids))
            ->setArgument('$notObeyed', OptionTable::notObeyed(array_values(array_filter(array_column($container->getExtensionConfig('framework'), 'messenger'), \is_array(...)))));
    }

    /**
     * The variables of the environment which the configuration of a connection consists of.
     *
     * @return array{password?: string, url?: string}
     */
    private static function variables(ContainerBuilder $container, string $id): array
    {
        $params = $container->hasDefinition($id) ? ($container->getDefinition($id)->getArguments()['index_0'] ?? $container->getDefinition($id)->getArguments()[0] ?? null) : null;
        $variables = [];
        foreach (['password', 'url'] as $name) {
            $value = \is_array($params) && \is_string($params[$name] ?? null) ? $container->resolveEnvPlaceholders($params[$name], '%%env(%s)%%') : null;
            if (\is_string($value) && 1 === preg_match('/^%env\((?:\w+:)*(\w+)\)%$/', $value, $match)) {
                $variables[$name] = $match[1];
            }
        }

        return $variables;
    }

    /** @return array<string, string> the name of the limiter by transport */
    private static function limiters(ContainerBuilder $container): array
    {
        $limiters = [];
        if ($container->hasDefinition('messenger.rate_limiter_locator')) {
            foreach ((array) ($container->getDefinition('messenger.rate_limiter_locator')->getArguments()[0] ?? []) as $transport => $limiter) {
                if ($limiter instanceof Reference) {
                    $limiters[$transport] = (string) preg_replace('/^limiter\./', '', (string) $limiter);
                }
            }
        }

        return $limiters;
    }

    /** @return array<string, mixed>|null */
    private static function limiterConfig(ContainerBuilder $container, string $name): ?array
    {
        $limiter = $container->hasDefinition('limiter.'.$name) ? $container->getDefinition('limiter.'.$name)->getArguments() : [];
        $config = $limiter['index_0'] ?? $limiter[0] ?? null;

        return \is_array($config) ? array_intersect_key($config, ['policy' => 0, 'limit' => 0, 'interval' => 0, 'rate' => 0]) : null;
    }

    /**
     * Which batch handlers get messages of a transport, as far as the routing says.
     *
     * @return array<string, list<string>> classes by transport
     */
    private static function batchHandlers(ContainerBuilder $container): array
    {
        $routing = $container->hasDefinition('messenger.senders_locator') ? ($container->getDefinition('messenger.senders_locator')->getArguments()[0] ?? []) : [];
        $classes = [];
        foreach ($container->findTaggedServiceIds('messenger.bus') as $bus => $_) {
            $locator = $bus.'.messenger.handlers_locator';
            foreach ($container->hasDefinition($locator) ? (array) ($container->getDefinition($locator)->getArguments()[0] ?? []) : [] as $message => $descriptors) {
                foreach ($descriptors instanceof IteratorArgument ? $descriptors->getValues() : [] as $descriptor) {
                    $class = $descriptor instanceof Reference ? self::handlerClass($container, (string) $descriptor) : null;
                    if (null !== $class && is_a($class, BatchHandlerInterface::class, true)) {
                        foreach (self::sendersOf((string) $message, $routing) as $transport) {
                            $classes[$transport][$class] = $class;
                        }
                    }
                }
            }
        }

        return array_map(array_values(...), $classes);
    }

    /** Of a handler's descriptor: a service, or a method of one. */
    private static function handlerClass(ContainerBuilder $container, string $id): ?string
    {
        for ($depth = 0; $depth < 4 && $container->has($id); ++$depth) {
            try {
                $definition = $container->findDefinition($id);
            } catch (ExceptionInterface) {
                return null;
            }
            $class = $container->getParameterBag()->resolveValue($definition->getClass() ?? $id);
            $next = null;
            $arguments = $definition->getArguments();
            array_walk_recursive($arguments, static function (mixed $argument) use (&$next): void {
                $next ??= $argument instanceof Reference ? (string) $argument : null;
            });
            if (is_a($class, BatchHandlerInterface::class, true) || null === $next || !\in_array($class, ['Closure', 'callable', 'Symfony\Component\Messenger\Handler\HandlerDescriptor'], true)) {
                return \is_string($class) ? $class : null;
            }
            $id = $next;
        }

        return null;
    }

    /**
     * @param array<string, list<string>> $routing
     *
     * @return list<string>
     */
    private static function sendersOf(string $message, array $routing): array
    {
        $senders = [];
        foreach ($routing as $pattern => $transports) {
            if ('*' === $pattern || $pattern === $message || is_a($message, $pattern, true) || (str_ends_with($pattern, '\*') && str_starts_with($message, substr($pattern, 0, -1)))) {
                array_push($senders, ...$transports);
            }
        }

        return array_values(array_unique($senders));
    }
}
