<?php

declare(strict_types=1);

namespace Fervo\DeferredEventBundle\DependencyInjection\Compiler;

use Fervo\DeferredEventBundle\DeferOptions;
use Fervo\DeferredEventBundle\DependencyInjection\FervoDeferredEventExtension;
use Fervo\DeferredEventBundle\EventListener\DeferringListener;
use Symfony\Component\DependencyInjection\Compiler\CompilerPassInterface;
use Symfony\Component\DependencyInjection\Compiler\ServiceLocatorTagPass;
use Symfony\Component\DependencyInjection\ContainerBuilder;
use Symfony\Component\DependencyInjection\Definition;
use Symfony\Component\DependencyInjection\Exception\InvalidArgumentException;
use Symfony\Component\DependencyInjection\Reference;
use Symfony\Component\EventDispatcher\EventSubscriberInterface;

/**
 * Puts a DeferringListener where each listener with the tag fervo_deferred_event.listener would be, and collects what the
 * worker may call.
 *
 * @internal
 */
final class DeferredListenerPass implements CompilerPassInterface
{
    private const ATTRIBUTES = ['event', 'method', 'priority', 'dispatcher', 'delay', 'queue', 'job_priority', 'attempts'];

    public function process(ContainerBuilder $container): void
    {
        if (!$container->hasDefinition('fervo_deferred_event.payload_dispatcher')) {
            return;
        }

        $services = $rows = [];
        foreach ($container->findTaggedServiceIds(FervoDeferredEventExtension::LISTENER_TAG, true) as $id => $tags) {
            foreach ($tags as $tag) {
                if ([] !== $unknown = array_diff(array_keys($tag), self::ATTRIBUTES)) {
                    throw new InvalidArgumentException(sprintf('The tag "%s" of the service "%s" has the attribute "%s"; it knows %s.', FervoDeferredEventExtension::LISTENER_TAG, $id, current($unknown), implode(', ', self::ATTRIBUTES)));
                }
                $class = $container->getReflectionClass($container->getParameterBag()->resolveValue($container->getDefinition($id)->getClass()));
                if (null === $class) {
                    throw new InvalidArgumentException(sprintf('The class of the deferred listener "%s" cannot be found.', $id));
                }
                $method = $this->methodOf($class, $id, $tag);
                $listener = $id.'::'.$method;
                $services[$listener] = new Reference($id);
                $options = $this->options($id, $tag);
                foreach (isset($tag['event']) ? [$tag['event']] : $this->eventsOf($class, $id, $method) as $event) {
                    $this->onlyLater($container, $class, $id, $method, $event);
                    $rows[] = [$event, $listener, $tag['priority'] ?? 0, $options];
                    $container->setDefinition(
                        sprintf('fervo_deferred_event.deferring_listener.%d', \count($rows)),
                        (new Definition(DeferringListener::class, [new Reference('fervo_dispatch.queue'), $listener, $options]))
                            ->addTag('kernel.event_listener', array_intersect_key($tag, ['dispatcher' => 1]) + ['event' => $event, 'method' => '__invoke', 'priority' => $tag['priority'] ?? 0]),
                    );
                }
            }
        }

        $container->getDefinition('fervo_deferred_event.payload_dispatcher')
            ->setArgument('$listeners', ServiceLocatorTagPass::register($container, $services));
        $container->getDefinition('fervo_deferred_event.command.debug')->setArgument('$listeners', $rows);
    }

    /**
     * As Symfony does it for its own listeners.
     *
     * @param \ReflectionClass<object> $class
     * @param array<string, mixed>     $tag
     */
    private function methodOf(\ReflectionClass $class, string $id, array $tag): string
    {
        $guess = isset($tag['event'])
            ? 'on'.preg_replace('/[^a-z0-9]/i', '', ucwords(preg_replace('/[^a-z0-9]/i', ' ', $tag['event'])))
            : '__invoke';
        $candidates = isset($tag['method']) ? [$tag['method']] : array_unique([$guess, '__invoke']);
        foreach ($candidates as $method) {
            if ($class->hasMethod($method) && $class->getMethod($method)->isPublic()) {
                return $class->getMethod($method)->name;
            }
        }

        throw new InvalidArgumentException(sprintf('The deferred listener "%s" has no public method %s(): name one with the attribute "method".', $id, implode('() or ', $candidates)));
    }

    /**
     * @param \ReflectionClass<object> $class
     *
     * @return string[] several for a union of classes
     */
    private function eventsOf(\ReflectionClass $class, string $id, string $method): array
    {
        $type = ($class->getMethod($method)->getParameters()[0] ?? null)?->getType();

        return array_map(static function (?\ReflectionType $one) use ($class, $id, $method): string {
            if (!$one instanceof \ReflectionNamedType || $one->isBuiltin()) {
                throw new InvalidArgumentException(sprintf('Which event does the deferred listener "%s" listen to? Give the first parameter of %s() the event\'s class as its type, or name the event.', $id, $method));
            }

            return 'self' === $one->getName() ? $class->name : $one->getName();
        }, $type instanceof \ReflectionUnionType ? $type->getTypes() : [$type]);
    }

    /**
     * The same method for the same event, at once and later, would run twice. Later is what was asked for in particular.
     *
     * @param \ReflectionClass<object> $class
     */
    private function onlyLater(ContainerBuilder $container, \ReflectionClass $class, string $id, string $method, string $event): void
    {
        $definition = $container->getDefinition($id);
        $tags = $definition->getTag('kernel.event_listener');
        $others = array_filter($tags, fn (array $tag): bool => 0 !== strcasecmp($method, $this->methodOf($class, $id, $tag))
            || !\in_array($event, isset($tag['event']) ? [$tag['event']] : $this->eventsOf($class, $id, $method), true));
        if (\count($others) < \count($tags)) {
            $definition->clearTag('kernel.event_listener');
            foreach ($others as $tag) {
                $definition->addTag('kernel.event_listener', $tag);
            }
            $container->log($this, sprintf('%s::%s() is a deferred listener of "%s", and runs later only: its #[AsEventListener], or tag "kernel.event_listener", for the same event has no effect. Remove it.', $id, $method, $event));
        }

        if ($definition->hasTag('kernel.event_subscriber') && is_subclass_of($class->name, EventSubscriberInterface::class)) {
            // A name, [a name, a priority], or a list of these.
            $subscribed = (array) ($class->name::getSubscribedEvents()[$event] ?? []);
            foreach (\is_array($subscribed[0] ?? null) ? $subscribed : [$subscribed] as $entry) {
                $name = \is_array($entry) ? $entry[0] ?? null : null;
                if (\is_string($name) && 0 === strcasecmp($method, $name)) {
                    throw new InvalidArgumentException(sprintf('%s::%s() would run at once and once more later, at the event "%s": it is a deferred listener, and in getSubscribedEvents(). Remove it from one of the two.', $id, $method, $event));
                }
            }
        }
    }

    /** @param array<string, mixed> $tag */
    private function options(string $id, array $tag): Definition
    {
        $delay = $tag['delay'] ?? null;
        try {
            if (\is_string($delay)) {
                $delay = is_numeric($delay) ? (float) $delay : new \DateInterval($delay);
            }
            // Made here to see what is wrong with it when the container is built, not at the first event.
            $options = new DeferOptions($delay, $tag['queue'] ?? null, $tag['job_priority'] ?? null, $tag['attempts'] ?? null);
        } catch (\Exception $error) {
            throw new InvalidArgumentException(sprintf('The options of the deferred listener "%s" are wrong: %s', $id, $error->getMessage()), 0, $error);
        }

        return new Definition(DeferOptions::class, [null === $options->delayMs ? null : $options->delayMs / 1000, $options->queue, $options->priority, $options->attempts]);
    }
}
