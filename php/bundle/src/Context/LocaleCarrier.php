<?php

declare(strict_types=1);

namespace Fervo\DeferredEventBundle\Context;

use Symfony\Component\HttpFoundation\RequestStack;
use Symfony\Component\Routing\RequestContext;
use Symfony\Contracts\Translation\LocaleAwareInterface;
use Symfony\Contracts\Translation\TranslatorInterface;

/**
 * The locale of the translator, and of all else that Symfony gives the request's locale to.
 *
 * @internal
 */
final class LocaleCarrier implements ContextCarrierInterface
{
    /** Where the router has it, for routes with a locale. */
    private const PARAMETER = '_locale';

    /** @param iterable<LocaleAwareInterface> $services Symfony's LocaleSwitcher among them, where there is one */
    public function __construct(
        private readonly iterable $services,
        private readonly RequestStack $requests,
        private readonly ?RequestContext $context = null,
    ) {
    }

    public static function name(): string
    {
        return 'locale';
    }

    public function capture(): ?string
    {
        $locale = null;
        foreach ($this->services as $service) {
            if ($service instanceof TranslatorInterface) {
                // What the application has set it to, in or outside of a request.
                return $service->getLocale();
            }
            $locale ??= $service->getLocale();
        }

        return $this->requests->getCurrentRequest()?->getLocale() ?? $locale;
    }

    public function restore(array|bool|float|int|string $value): \Closure
    {
        $locale = \is_string($value) ? $value : '';
        if ('' === $locale) {
            return static function (): void {};
        }
        /** @var list<\Closure(): mixed> $undo */
        $undo = [];
        // Backwards: some of these set others, too.
        $back = static function () use (&$undo): void {
            foreach (array_reverse($undo) as $one) {
                try {
                    $one();
                } catch (\Throwable $error) {
                    error_log((string) $error);
                }
            }
        };
        try {
            $this->set($locale, $undo);
        } catch (\Throwable $error) {
            $back();
            throw $error;
        }

        return $back;
    }

    /** @param list<\Closure(): mixed> $undo gets what undoes each step, before it is done */
    private function set(string $locale, array &$undo): void
    {
        if (null !== $this->context) {
            $parameters = $this->context->getParameters();
            $undo[] = fn () => $this->context->setParameters($parameters);
            $this->context->setParameter(self::PARAMETER, $locale);
        }
        // As a request does it, where the extension "intl" is loaded.
        if (class_exists(\Locale::class, false)) {
            $default = \Locale::getDefault();
            $undo[] = static fn () => \Locale::setDefault($default);
            \Locale::setDefault($locale);
        }
        foreach ($this->services as $service) {
            $before = $service->getLocale();
            $undo[] = static fn () => $service->setLocale($before);
            $service->setLocale($locale);
        }
    }
}
